"""The glossary: every term of the reports and of the documentation, defined once.

The page, ``report.md``, the notebook display and ``docs/reference/glossary.md`` take their
explanations from here. ``tools/glossary.py`` prints the page of the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping

from phi2sdk.report.glossary_evaluation import EVALUATION
from phi2sdk.report.glossary_term import Term

COMPARISON: Mapping[str, Term] = {
    # What is compared.
    "target": Term(
        "target",
        "A target is one place that serves Phi-2, with its settings: local weights, or an endpoint "
        "of a provider.",
    ),
    "provider": Term(
        "provider",
        "A provider is a company or a server that hosts the model behind an endpoint, such as "
        "Azure, Clarifai or Hugging Face.",
    ),
    "backend": Term(
        "backend",
        "A backend is the part of phi2sdk that sends requests in the protocol of one provider, or "
        "runs the local model.",
    ),
    "reference": Term(
        "reference",
        "The reference is the target that the answers of all other targets are compared with.",
        "It is the first local target unless --reference names another one. Do not confuse it with "
        "the reference summaries of an input, which only the quality metrics use.",
    ),
    "baseline": Term(
        "baseline",
        "The baseline is the model or target that costs are compared with: a model of the price "
        "book, such as GPT-4, or a target of the run.",
        "The cost of a model of the price book is computed from its token prices and the token "
        "counts of this run.",
    ),
    "simulated": Term(
        "simulated (~)",
        "A value marked with ~ was measured on an emulator on this machine, so it is neither the "
        "latency nor the bill of a provider.",
        "The price of a simulated target is an example.",
    ),
    "emulator": Term(
        "emulator",
        "An emulator is a server on this machine that answers in the protocol of a provider.",
        "The demo and the tests use emulators, so they need no account.",
    ),
    "request_in_flight": Term(
        "request in flight",
        "A request is in flight from the moment it is sent until its last content arrives or it "
        "fails.",
        "The concurrency of a closed load is the number of requests in flight at each target.",
    ),
    "slot": Term(
        "slot",
        "A slot is a place for one request in the batch of the local model.",
        "A request starts as soon as a slot is free and leaves it when it ends.",
    ),
    "prompt_template": Term(
        "prompt template",
        "A prompt template is the fixed text around an input that turns it into a prompt, such as "
        "'Instruct: ... Output:'.",
        "A route that wraps prompts in a template of its own sends another prompt, so its answers "
        "must differ.",
    ),
    "greedy": Term(
        "greedy (temperature 0)",
        "Greedy decoding always takes the most likely next token, so a deterministic target gives "
        "the same answer every time.",
        "Latency, cost, agreement and quality are measured on greedy answers.",
    ),
    "sampled": Term(
        "sampled (temperature 1)",
        "A sampled answer is drawn at random from the probabilities of the model.",
        "The identity tests use sampled answers, which show the distribution of the model.",
    ),
    "warmup": Term(
        "warm-up",
        "The warm-up requests of a target come first and are in no latency statistic, but their "
        "cost is counted.",
    ),
    "repetition": Term(
        "repetition",
        "A repetition is one more request with the same prompt to the same target.",
        "Repetitions are not independent of each other, so intervals count prompts.",
    ),
    # The decision.
    "decision": Term(
        "decision",
        "The decision is the cheapest target that meets every requirement and that the identity "
        "tests do not call different.",
        "The targets are compared by the cost with busy time only, or with --volume by the cost "
        "at that volume. An invalid run gives no decision.",
    ),
    "outcome": Term(
        "outcome",
        "The outcome is the status of a target in the decision: chosen, alternative, dominated, "
        "not as claimed, fails (a requirement), too few answers, run invalid or cost unknown.",
    ),
    "dominated": Term(
        "dominated",
        "A target is dominated if another target is at least as good in cost, E2E p95, exact match "
        "and identity, and better in one of them (Pareto).",
        "A value that is known for only one of the two targets is not compared.",
    ),
    "requirement": Term(
        "requirement",
        "A requirement is a condition on a number of the report that --require states; it holds if "
        "the whole interval meets it.",
    ),
    "valid": Term(
        "valid run",
        "A run is valid if this machine sent the requests on schedule and read the answers without "
        "delay, so that the measurement error is small.",
        "Measure again if a run is invalid.",
    ),
    "measurement_error": Term(
        "measurement error",
        "The measurement error is the difference between measured and true latency of a server "
        "with a known schedule on this machine.",
        "It is measured before each run, with the protocols and the concurrency of the run.",
    ),
    "schedule_lag": Term(
        "schedule lag",
        "The schedule lag is the time from the moment a request was due until it was sent.",
        formula="t_send - t_scheduled",
    ),
    # Latency.
    "ttft": Term(
        "TTFT",
        "TTFT, time to first token, is the time from sending a request until the first chunk with "
        "text arrives.",
        "Frames with a role, a usage count or a comment do not count. A route that does not stream "
        "has no TTFT.",
        "t_first - t_send",
    ),
    "e2e": Term(
        "E2E",
        "E2E, end-to-end latency, is the time from sending a request until its last content "
        "arrives.",
        "Retries and their waits are included. It ends early where the client recognizes a stop "
        "sequence; a route that cannot stream continues to max_tokens, and its latency includes "
        "that.",
        "t_last - t_send",
    ),
    "response": Term(
        "response time",
        "Response time is the time from the moment a request was due until its last content "
        "arrives.",
        "It includes the wait before the request was sent, which a closed load hides (coordinated "
        "omission).",
        "t_last - t_scheduled",
    ),
    "tpot": Term(
        "TPOT",
        "TPOT, time per output token, is the mean time between tokens after the first chunk of a "
        "streamed answer.",
        "N is the number of tokens of the answer and n1 the number in its first chunk, both "
        "counted by the reference tokenizer. The time in which a stop sequence arrived is "
        "included.",
        "(t_last - t_first) / (N - n1)",
    ),
    "icl": Term(
        "ICL",
        "ICL, inter-chunk latency, is the time between two chunks with text.",
        "It is the inter-token latency only where each chunk is one token.",
        "t_chunk[i] - t_chunk[i - 1]",
    ),
    "p50": Term(
        "p50",
        "The p50, the median, is the value that half of all requests stay below.",
    ),
    "p90": Term("p90", "The p90 is the value that 90% of all requests stay below."),
    "p95": Term("p95", "The p95 is the value that 95% of all requests stay below."),
    "p99": Term("p99", "The p99 is the value that 99% of all requests stay below."),
    "censored": Term(
        "censored (> 60.0 s)",
        "A percentile that is written as > 60.0 s is above the time limit by an unknown amount, "
        "because too many requests failed or timed out.",
    ),
    "interval": Term(
        "interval",
        "The interval is the 95% confidence interval of a value: the range that contains the true "
        "value in 95% of such runs.",
        "A value marked with * has none because there are too few prompts: a p50 needs 6 prompts, "
        "a p95 needs 72.",
    ),
    "n": Term("n", "n is the number of measured values, including those of failed requests."),
    "throughput": Term(
        "tokens/s",
        "Tokens per second are the output tokens of a target divided by the time in which it "
        "produced them.",
        "Under sequential load that is the time in which the target had a request; under other "
        "loads it is the time from the first request to the last content.",
    ),
    "goodput": Term(
        "goodput",
        "Goodput is the number of requests per second that meet every service level of --slo.",
        "The good fraction is the share of all requests that do; a failed request is not good.",
    ),
    "request_rate": Term(
        "request rate",
        "The request rate is the number of requests per second that are sent to a target.",
        "The achieved rate is the number of answered requests per second.",
    ),
    "failures": Term(
        "failures",
        "Failures are the requests without an acceptable answer, out of all requests sent.",
        "A failed request counts in every percentile as slower than all answers.",
    ),
    "prefill": Term(
        "prefill and decode",
        "Prefill is the computation over the prompt before the first token; decode is the "
        "generation of one token after another.",
    ),
    # Cost.
    "cost": Term(
        "cost of 1,000 answers (USD)",
        "The cost is all that was spent on a target, in US dollars, for 1,000 acceptable answers.",
        "Failures, retries and the warm-up are included. An answer is acceptable if it came "
        "without an error, was not filtered, and is not empty after it was cut at the stop. A "
        "cost is unknown, and not zero, if no price applies to the target.",
    ),
    "token_cost": Term(
        "token cost",
        "Token cost is the part of the cost that is priced by token or by request.",
    ),
    "busy": Term(
        "busy time only",
        "The cost with busy time only includes a machine for the seconds in which it had a "
        "request.",
    ),
    "idle": Term(
        "idle time included",
        "The cost with idle time included contains a machine for the whole measured window, or at "
        "a stated utilization.",
    ),
    "volume": Term(
        "volume",
        "The volume is a number of answers per day; the cost at a volume is that of whole "
        "machines, with idle time included.",
    ),
    "break_even": Term(
        "break-even",
        "The break-even is the volume, in answers per day, from which one target is cheaper than "
        "another.",
        "Machines work at the measured speed, for whole days, and are paid for while they idle.",
    ),
    "times_cheaper": Term(
        "times cheaper",
        "Times cheaper is the cost of an answer of the baseline divided by that of the target.",
    ),
    "assumption": Term(
        "assumption",
        "An assumption is a setting that the cost ratio depends on, such as the rented GPU, the "
        "utilization or the length of the answers.",
    ),
    # Agreement.
    "exact_match": Term(
        "exact match",
        "Exact match is the share of prompts on which two targets gave the same answer, in all "
        "repetitions, after both were cut at the stop.",
        "The first table compares each target with the reference.",
    ),
    "exact_bytes": Term(
        "exact bytes",
        "Exact bytes is the share of prompts on which two targets sent exactly the same bytes, "
        "before any cut.",
    ),
    "edit_similarity": Term(
        "edit similarity",
        "Edit similarity is the share of the longer answer's tokens that need no edit to turn one "
        "answer into the other.",
        formula="1 - Levenshtein distance / tokens of the longer answer",
    ),
    "common_prefix": Term(
        "common prefix",
        "Common prefix is the number of tokens with which two answers begin alike, divided by the "
        "tokens of the longer answer.",
    ),
    "first_divergence": Term(
        "first divergence",
        "First divergence is the median number of tokens before two answers differ.",
        "Equal answers are censored at their length (Kaplan-Meier), so that short answers do not "
        "count as agreement.",
    ),
    "self_agreement": Term(
        "self-agreement",
        "Self-agreement is the agreement of the later repetitions of a target with its first "
        "repetition.",
        "Do not expect a higher agreement with another target.",
    ),
    "regret": Term(
        "regret",
        "Regret is how much more likely, in nats, the reference found its own choice than the "
        "token of the target.",
        "A regret near 0 is a tie, which numerical differences explain.",
        "max log p - log p(token)",
    ),
    # Identity.
    "same_model": Term(
        "same model?",
        "This is the result of the identity tests, which compare sampled answers with the "
        "reference weights: consistent, different, undetermined or not tested.",
        "Consistent means that no test found a difference. It does not mean identical.",
    ),
    "p_value": Term(
        "p",
        "p is the probability that an unmodified target would look at least as different by "
        "chance.",
        "It is adjusted for all tests and all targets; a target is called different below 0.05.",
    ),
    "candidate": Term(
        "closest candidate",
        "The closest candidate is the model among those tried, such as int4 weights or another "
        "temperature, that makes the answers of the target most likely.",
    ),
    "likelihood_ratio": Term(
        "log10 likelihood ratio",
        "The log10 likelihood ratio is above 0 if the answers are more likely under a candidate "
        "than under the reference, and 2 means 100 times more likely.",
    ),
    "effective_temperature": Term(
        "effective T",
        "The effective temperature is the sampling temperature at which the reference weights "
        "would most likely have written the answers.",
        "The answers are requested at temperature 1. An interval that excludes 1 does not "
        "by itself reject a target: it is not adjusted for the number of targets, so about 1 of 20 "
        "unmodified targets has such an interval.",
    ),
    "calls": Term(
        "calls",
        "Calls is the number of sampled answers that were scored, out of those requested.",
    ),
    "kl": Term(
        "KL",
        "KL, the Kullback-Leibler divergence, measures in nats per token how different two models' "
        "probabilities are; 0 means equal.",
    ),
    "power": Term(
        "int4 power",
        "The power is the probability that this run would have detected a candidate, here the "
        "model in int4.",
        "It holds for the candidates that were tested, and not for other changes.",
    ),
    "precision": Term(
        "precision",
        "The precision is the number format of the weights, such as float32, bfloat16 or int8.",
        "The option --honest states the precisions that count as the same model.",
    ),
    "test": Term(
        "test",
        "A test is one statistical comparison of sampled answers with the reference weights, by "
        "likelihood (score, line-up, routing) or by text (MMD, word pairs, token frequencies).",
    ),
    "statistic": Term(
        "statistic",
        "The statistic is the number that a test computes: Z, log e or MMD\u00b2; the larger it "
        "is, the larger the difference.",
    ),
    "p_by_precision": Term(
        "p by precision",
        "The p by precision is the p of a test against each precision that counts as the same "
        "model; the largest of them counts, so numerical differences alone reject no target.",
    ),
    "finding": Term(
        "finding",
        "A finding is a property of the answers that is not a property of the model, such as a cap "
        "on their length.",
        "In a table of tests, it is the result of a test in a sentence.",
    ),
    "entropy": Term(
        "entropy",
        "The entropy of an answer, in nats per token, is a measure of its randomness; near 0 "
        "an answer carries no information about the model.",
    ),
    "prompt": Term(
        "prompt",
        "A prompt is the text that is sent to the model.",
        "Tables show its id in the input.",
    ),
    # Quality.
    "rouge_l": Term(
        "ROUGE-L",
        "ROUGE-L is the F1 score of the longest common subsequence of words with the reference "
        "summary of the input.",
    ),
    "chrf": Term(
        "chrF",
        "chrF is the F-score of the character n-grams that an answer shares with the reference "
        "summary of the input.",
    ),
    "cosine": Term(
        "cosine",
        "Cosine is the cosine of the angle between the embeddings of an answer and of the "
        "reference summary of the input.",
    ),
    "chance": Term(
        "chance",
        "Chance is the similarity of the answers to the reference summaries of other prompts.",
        "Similarity of content does not show whether two models are the same.",
    ),
    "faithful": Term(
        "faithful facts",
        "Faithful facts is the share of the numbers and names in a summary that occur in its "
        "source.",
    ),
    "unsupported": Term(
        "unsupported facts",
        "Unsupported facts is the share of prompts whose summary has a number or a name that its "
        "source does not have.",
    ),
    "answer_tokens": Term(
        "tokens per answer",
        "Tokens per answer is the median length of an answer after it was cut at the stop.",
    ),
    "length_ratio": Term(
        "length ratio",
        "Length ratio is the length of an answer divided by that of the reference summary of the "
        "input, in words.",
    ),
    "past_first_sentence": Term(
        "after first sentence",
        "After first sentence is the share of the words of an answer that follow its first "
        "sentence.",
    ),
}
"""The terms of a comparison by key, in the order of the subjects."""

GLOSSARY: Mapping[str, Term] = {**COMPARISON, **EVALUATION}
"""All terms by key."""


def anchor(key: str) -> str:
    """Return the anchor of a term: ``term-ttft`` for ``ttft``.

    Raises:
        KeyError: The glossary does not have the term.
    """
    if key not in GLOSSARY:
        raise KeyError(f"the glossary has no term {key!r}; add it to report/glossary.py")
    return f"term-{key.replace('_', '-')}"


def alphabetical(terms: Mapping[str, Term] = GLOSSARY) -> list[tuple[str, Term]]:
    """Return terms with their keys, in the alphabetical order of their names."""
    return sorted(terms.items(), key=lambda item: item[1].name.casefold())
