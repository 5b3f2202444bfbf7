"""The terms of an evaluation, which only its own report explains."""

from __future__ import annotations

from collections.abc import Mapping

from phi2sdk.report.glossary_term import Term

EVALUATION: Mapping[str, Term] = {
    "task": Term(
        "task",
        "A task is a benchmark: a set of items, each with a prompt and a known answer, and the "
        "metrics that score them.",
    ),
    "item": Term(
        "items",
        "Items is the number of questions of a task that the target answered and that were scored.",
    ),
    "metric": Term(
        "metric",
        "A metric is a measure of the answers to a task, such as accuracy or exact match.",
        "The first metric of a task is its main metric, on which targets are compared.",
    ),
    "score": Term(
        "score",
        "The score of a target on a task is the mean of a metric over the items, or what the task "
        "defines instead, such as a perplexity.",
        "Items that are right or wrong have Wilson's interval, other means a BCa bootstrap over "
        "the items. A score that is not a mean has no interval. Items that failed extend the "
        "interval: they count as wrong at its lower end and as right at its upper end.",
    ),
    "shots": Term(
        "shots",
        "Shots is the number of solved examples in each prompt of a task.",
    ),
    "likelihood_task": Term(
        "likelihood task",
        "In a likelihood task the answer is the choice with the largest log-likelihood, which only "
        "some targets can compute.",
        "The generative variant of the task has another name: the target writes its choice. Scores "
        "of the two are not comparable.",
    ),
    "published_figure": Term(
        "published figure",
        "The published figure is the score that the publication of the model reports for a task.",
        "It is compared with the interval of a score only if prompts, shots and metric are those "
        "of the publication; otherwise the report says why it is not comparable.",
    ),
    "score_difference": Term(
        "difference in score",
        "The difference in score is the score of a target minus that of the reference, over the "
        "items that both answered.",
        "Differences of rates are in percentage points. The interval is Tango's score interval for "
        "paired rates, or a BCa bootstrap over the items for other means.",
    ),
    "only_one_right": Term(
        "only one right",
        "Only one right is the number of items that only one of two targets got right: the target "
        "before the slash, the reference after it.",
    ),
    "score_p": Term(
        "p of a difference in score",
        "The p-value of a difference in score is the probability of one at least as large if "
        "neither target were better.",
        "It is that of McNemar's exact test, or of a permutation test if items are not just right "
        "or wrong, and is adjusted for all comparisons of the evaluation (Holm).",
    ),
    "score_verdict": Term(
        "result of a comparison",
        "A target is better or worse than the reference on a task if the adjusted p-value is at "
        "most 0.05; otherwise no difference is shown.",
        "That no difference is shown does not mean that there is none: the interval contains the "
        "differences that the items do not exclude.",
    ),
    "calls_made": Term(
        "calls of a task",
        "The calls of a task are the requests that its items needed, retries included.",
    ),
    "tokens_of_calls": Term(
        "tokens of a task",
        "The tokens of a task are those of all its calls, as the target counts them.",
    ),
    "cost_of_task": Term(
        "cost of a task (USD)",
        "The cost of a task is what all its calls cost at the configured price, in US dollars.",
    ),
    "time_of_task": Term(
        "time of a task (s)",
        "The time of a task is the time in which a call of the task was in flight, in seconds.",
    ),
}
"""By key."""
