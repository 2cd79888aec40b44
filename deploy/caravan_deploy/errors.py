"""What can stop a deployment, as one sentence for the person who typed the command."""

from caravan_common.errors import CaravanError


class SetupError(CaravanError):
    """Something that the machine or its owner must change first; the message is one clear sentence."""

    slug = "setup-failed"
    title = "The deployment cannot go on."
    code = "deploy_setup_failed"


class ApiError(SetupError):
    """Nomad, Consul or Vault answered with an error status. ``answered`` is that status, or 0 for no answer."""

    def __init__(self, message: str, answered: int) -> None:
        super().__init__(message, answered=answered)
        self.answered = answered
