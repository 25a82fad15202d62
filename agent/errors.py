"""What can go wrong, by whose fault it is. Texts are `where: what is wrong`, without secrets."""


class AgentError(Exception):
    """Anything the agent can explain; caught around a module and in `cli.main`."""


class ConfigError(AgentError):
    """The user's document asks for something that cannot be understood or granted."""


class DatasourceError(AgentError):
    """The datasource is there and its answer is unusable, or it should be there and is silent."""


class HostError(AgentError):
    """The machine refused: a file, an account, a command."""
