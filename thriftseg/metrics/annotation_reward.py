"""Reward of an annotation: the gain in quality for the time that it takes."""

from __future__ import annotations

from typing import Literal, get_args

from thriftseg.errors import ConfigError

RewardRule = Literal["paper", "code", "net"]
"""How an annotation is rewarded, see `annotation_reward`."""


def annotation_reward(
    rule: RewardRule,
    *,
    before: float,
    after: float,
    initial: float,
    seconds: float,
    spent: float,
    final: bool,
    overhead: float = 0.0,
    second_price: float = 0.0,
) -> float:
    r"""Reward of one action in the annotation of a frame.

    With the qualities \( q_0 \) at the start, \( q \) before and \( q' \) after the action:

    - "paper" [0]: \( (q' - q) / t \) with the time \( t \) spent in the episode, this action included;
    - "code" [1]: \( (q' - q) / s \) with the time \( s \) of this action, and \( (q' - q_0) / t \) for the last one;
    - "net": \( (q' - q) - p (s + o) \) with the price \( p \) of a second and what is charged once, \( o \).

    The first two favour what is cheap, however little it leaves to gain: a click that adds 0.02 is worth more than a
    mask that adds 0.9. The rewards of an episode under "net" add up to what it gained less what it cost, so that the
    mask is drawn where clicks would leave more than \( p \) times the seconds that they save.

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.
    [1] https://github.com/thanosDelatolas/eva-vos

    Args:
        rule: Which of the two.
        before: Quality of the mask before the action, in [0, 1].
        after: Quality after it.
        initial: Quality at the start of the episode.
        seconds: Time of this action.
        spent: Time since the start of the episode, this action and what is charged once included.
        final: Whether the episode ends with this action.
        overhead: Time that is charged once, with this action.
        second_price: Quality that a second has to bring, for "net".

    Raises:
        ConfigError: There is no such rule.
        ValueError: The action takes no time.

    Example:
        >>> annotation_reward("paper", before=0.5, after=0.75, initial=0.25, seconds=1.5, spent=4.0, final=False)
        0.0625
        >>> annotation_reward("net", before=0.5, after=0.75, initial=0.25, seconds=80, spent=80, final=True,
        ...     second_price=0.002)
        0.09
    """
    check_reward_rule(rule)
    if seconds <= 0 or spent < seconds:
        raise ValueError(f"an action takes time, found {seconds} of {spent} s")
    if rule == "net":
        return after - before - second_price * (seconds + overhead)
    if rule == "paper":
        return (after - before) / spent
    return (after - initial) / spent if final else (after - before) / seconds


def check_reward_rule(rule: str) -> None:
    """Refuse a rule that there is not.

    Raises:
        ConfigError: There is no such rule.

    Example:
        >>> try:
        ...     check_reward_rule("gain")
        ... except ConfigError as error:
        ...     print(error)
        no such rule of rewards; expected paper or code or net; found 'gain'
    """
    if rule not in get_args(RewardRule):
        raise ConfigError("no such rule of rewards", expected=" or ".join(get_args(RewardRule)), found=repr(rule))
