"""What people may call the things that they make: policies, scaling groups, models. Pure."""


def is_name(text: str, longest: int) -> bool:
    """Whether a text can be a name: it can be printed, has no blanks around it, and 1 to ``longest`` characters."""
    return text.isprintable() and text == text.strip() and 0 < len(text) <= longest
