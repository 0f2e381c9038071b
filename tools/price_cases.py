#!/usr/bin/env python3
"""Write the pricing case table: calls and what the reference implementation says they cost.

Usage: price_cases.py > tests/data/price_cases.jsonl

The cases are made from data/prices.json by rule, not picked by hand, so that every model, unit, tier, date and daily
window of the catalogue has a case, and a new catalogue gets a new table by running this again. Hand-made are only the
names that stand for what callers send: provider aliases, proxy forms, samples of the regular expressions.
"""

import datetime
import itertools
import json
import sys
from fractions import Fraction
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from price_oracle import NANO_PER_USD, Catalogue, card_at, matches, normalised  # noqa: E402

AT = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)
DAY = datetime.timedelta(days=1)
PLAIN = {"input_tokens": 1200, "output_tokens": 340}
BIG = 10_000_000_000

# For each regular expression of the catalogue: names it matches, and names it must not match.
REGEX_SAMPLES = {
    r"(?:mi|code|dev|magi|mini)stral": (["open-mistral-7b", "codestral", "ministral-8b"], ["mixtral-8x7b", "mistal"]),
    r"^o[134]": (["o1", "o3-mini", "o4-mini"], ["o2", "go1", "o"]),
    r"^gemini-3\.5-flash-\d": (["gemini-3.5-flash-09-2026"], ["gemini-3.5-flash-x", "gemini-3-5-flash-1"]),
    r"^gpt-5\.6-luna-\d{4}-\d{2}-\d{2}$": (
        ["gpt-5.6-luna-2026-07-09"],
        ["gpt-5.6-luna-2026-7-9", "gpt-5x6-luna-2026-07-09"],
    ),
    r"^gpt-5-6-luna-\d{4}-\d{2}-\d{2}$": (["gpt-5-6-luna-2026-07-09"], ["gpt-5-6-luna-2026-07-09-x"]),
    r"^gpt-5\.6-sol-\d{4}-\d{2}-\d{2}$": (["gpt-5.6-sol-2026-07-09"], ["gpt-5.6-sol-20260709"]),
    r"^gpt-5-6-sol-\d{4}-\d{2}-\d{2}$": (["gpt-5-6-sol-2026-07-09"], ["x-gpt-5-6-sol-2026-07-09"]),
    r"^gpt-5\.6-terra-\d{4}-\d{2}-\d{2}$": (["gpt-5.6-terra-2026-07-09"], ["gpt-5.6-terra-2026-07"]),
    r"^gpt-5-6-terra-\d{4}-\d{2}-\d{2}$": (["gpt-5-6-terra-2026-07-09"], ["gpt-5-6-terra-latest"]),
    r"^google/gemini-3\.5-flash-\d{8}$": (["google/gemini-3.5-flash-20260519"], ["google/gemini-3.5-flash-2026051"]),
    r"^x-ai/grok-4\.3-\d{8}$": (["x-ai/grok-4.3-20260430"], ["x-ai/grok-4.3-202604301"]),
    r"^grok-4\.3-\d{8}$": (["grok-4.3-20260430"], ["grok-4.3-2026-04-30"]),
    r"^grok-4\.5-\d{8}$": (["grok-4.5-20260708"], ["grok-4x5-20260708"]),
    r"^x-ai/grok-4\.5-\d{8}$": (["x-ai/grok-4.5-20260708"], ["y/x-ai/grok-4.5-20260708"]),
}

# What callers write for a provider, each with a model to ask it for.
PROVIDER_NAMES = [
    ("anthropic", "claude-sonnet-4-5"), ("Anthropic", "claude-sonnet-4-5"), ("  ANTHROPIC\t", "claude-opus-4-5"),
    ("anthropic-vertex", "claude-haiku-4-5"), ("google-vertex-anthropic", "claude-sonnet-4-5"),
    ("vertex_ai-anthropic_models", "claude-sonnet-4-5"), ("bedrock-anthropic", "claude-sonnet-4-5"),
    ("aws", "amazon.nova-pro-v1:0"), ("aws-bedrock", "amazon.nova-lite-v1:0"), ("bedrock", "amazon.nova-micro-v1:0"),
    ("Bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("amazon-bedrock", "meta.llama3-8b-instruct-v1:0"),
    ("aws_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ("bedrock_converse", "deepseek.r1-v1:0"),
    ("amazon", "amazon.nova-premier-v1:0"), ("AWS.Bedrock", "openai.gpt-5.4"), ("sagemaker", "amazon.nova-pro-v1:0"),
    ("azure", "gpt-4o"), ("azure-openai", "gpt-4o"), ("azure_openai", "gpt-4o"), ("AzureOpenAI", "gpt-4o"),
    ("azure.ai.openai", "gpt-4o"), ("az.ai.openai", "gpt-4o"), ("az.ai.inference", "gpt-4o"), ("azure_ai", "phi-4"),
    ("azure", "phi-4"), ("openai", "phi-4"), ("openai", "gpt-4o"), ("OpenAI", "gpt-4o"), ("openai-chat", "gpt-4o"),
    ("openai-responses", "gpt-4o"), ("text-completion-openai", "gpt-4o"), ("openai:gpt", "gpt-4o"),
    ("open-ai", "gpt-4o"), ("google", "gemini-2.5-pro"), ("google-vertex", "gemini-2.5-pro"),
    ("vertex_ai", "gemini-2.5-flash"), ("google-gla", "gemini-2.5-flash"), ("gcp.gemini", "gemini-2.5-flash"),
    ("gcp.vertex_ai", "gemini-2.5-pro"), ("gemini", "gemini-2.0-flash"), ("GOOGLE_GENAI", "gemini-2.5-pro"),
    ("gcp", "gemini-2.5-pro"), ("google-vertex", "claude-sonnet-4-5"), ("vertex", "gpt-4o"),
    ("mistral", "mistral-large-latest"), ("mistralai", "mistral-large-latest"), ("mistral_ai", "codestral-latest"),
    ("la-mistral", "mistral-large-latest"), ("cohere", "command-r-plus"), ("cohere_chat", "command-r"),
    ("deepseek", "deepseek-chat"), ("deepseek-ai", "deepseek-chat"), ("groq", "llama-3.3-70b-versatile"),
    ("groq-cloud", "llama-3.3-70b-versatile"), ("fireworks", "accounts/fireworks/models/deepseek-v3p2"),
    ("fireworks_ai", "accounts/fireworks/models/deepseek-v3"),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("together-ai", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("together_ai", "meta-llama/llama-3.3-70b-instruct-turbo"), ("Together_AI", "zero-one-ai/yi-6b"),
    ("togetherai", "zero-one-ai/yi-6b"), ("xai", "grok-3"), ("x-ai", "grok-3"), ("XAI", "grok-4"), ("x_ai", "grok-3"),
    ("cerebras", "llama3.1-8b"), ("cerebras-cloud", "llama3.1-8b"),
    ("huggingface_cerebras", "meta-llama/llama-3.1-8b-instruct"), ("huggingface-cerebras", "llama3.1-8b"),
    ("huggingface/groq", "openai/gpt-oss-20b"), ("huggingface_groq", "openai/gpt-oss-20b"),
    ("groq-via-huggingface", "openai/gpt-oss-20b"), ("huggingface:fireworks-ai", "openai/gpt-oss-20b"),
    ("huggingface-together", "deepseek-ai/deepseek-r1"), ("huggingface-hyperbolic", "openai/gpt-oss-20b"),
    ("huggingface-nebius", "google/gemma-2-2b-it"), ("huggingface-novita", "deepseek-ai/deepseek-v3"),
    ("huggingface-nscale", "qwen/qwq-32b"), ("huggingface-ovhcloud", "qwen/qwen3-32b"),
    ("huggingface-publicai", "swiss-ai/apertus-8b-instruct-2509"), ("huggingface-sambanova", "openai/gpt-oss-120b"),
    ("huggingface", "openai/gpt-oss-20b"), ("minimax", "minimax-m2"), ("MiniMax", "MiniMax-M2.1"),
    ("minimaxi", "minimax-m2"), ("modal", "moonshotai/kimi-k3"), ("multimodal-labs", "moonshotai/kimi-k3"),
    ("moonshot", "kimi-k2-0905-preview"), ("moonshotai-cn", "kimi-k2"), ("novita", "deepseek/deepseek-r1"),
    ("openrouter", "openai/gpt-4o"), ("OpenRouter", "anthropic/claude-sonnet-4.5"), ("open-router", "openai/gpt-4o"),
    ("ovhcloud", "qwen3-32b"), ("perplexity", "sonar-pro"), ("pplx", "sonar-pro"), ("voyageai", "voyage-3"),
    ("voyage", "voyage-3-lite"), ("zai", "glm-5.2"), ("z-ai", "glm-5.2"), ("zhipuai", "glm-4-plus"),
    ("zhipu", "glm-4-plus"), ("doubleword", "qwen/qwen3.5-9b"), ("avian", "meta-llama-3.1-8b-instruct"),
    ("ollama", "llama3"), ("vllm", "gpt-4o"), ("unknown", "gpt-4o"), ("acme-llm", "claude-sonnet-4-5"),
]  # fmt: skip

# What a LiteLLM caller sends as the model: the provider in front, or nothing in front.
LITELLM_MODELS = [
    "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "o3", "grok-3", "mistral-large-latest", "command-r-plus",
    "deepseek-chat", "kimi-k2", "voyage-3", "glm-4-plus", "MiniMax-M2", "phi-4", "no-such-model", "openai/gpt-4o",
    "OpenAI/GPT-4o", "anthropic/claude-sonnet-4-5", "azure/gpt-4o", "azure/phi-4", "azure/claude-opus-4-1",
    "azure_ai/phi-4", "bedrock/amazon.nova-pro-v1:0", "bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "bedrock/converse/amazon.nova-pro-v1:0", "vertex_ai/gemini-2.5-pro", "vertex_ai/claude-sonnet-4-5",
    "gemini/gemini-2.5-flash", "xai/grok-3", "mistral/mistral-large-latest", "cohere/command-r-plus",
    "deepseek/deepseek-reasoner", "groq/llama-3.3-70b-versatile", "together_ai/zero-one-ai/Yi-6B",
    "openrouter/openai/gpt-4o", "openrouter/anthropic/claude-sonnet-4.5", "perplexity/sonar-pro", "voyage/voyage-3",
    "moonshot/kimi-k2", "zai/glm-5.2", "openai/no-such-model", "nowhere/gpt-4o", "ollama/llama3", "  azure/gpt-4o ",
]  # fmt: skip

# Calls whose counts leave out what contains them, or contradict each other, or reach outside the rate card.
USAGE_CASES = [
    ("infer/cache-write-1h-only", "anthropic", "claude-sonnet-4-5", {"cache_write_1h_tokens": 777}),
    ("infer/cache-write-5m-only", "anthropic", "claude-sonnet-4-5", {"cache_write_5m_tokens": 777}),
    ("infer/both-lifetimes", "anthropic", "claude-sonnet-4-5",
     {"cache_write_5m_tokens": 300, "cache_write_1h_tokens": 500}),
    ("infer/lifetimes-within-input", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 2000, "cache_write_5m_tokens": 300, "cache_write_1h_tokens": 500}),
    ("infer/lifetime-within-writes", "anthropic", "claude-sonnet-4-5",
     {"cache_write_tokens": 900, "cache_write_1h_tokens": 500, "output_tokens": 10}),
    ("infer/read-and-write", "anthropic", "claude-sonnet-4-5",
     {"cache_read_tokens": 5000, "cache_write_tokens": 900, "cache_write_1h_tokens": 500}),
    ("infer/text-cache-write-1h", "anthropic", "claude-sonnet-4-5", {"cache_text_write_1h_tokens": 400}),
    ("infer/text-and-image-cache-write-1h", "anthropic", "claude-sonnet-4-5",
     {"cache_text_write_1h_tokens": 400, "cache_image_write_1h_tokens": 100}),
    ("infer/text-write-and-1h-write", "anthropic", "claude-sonnet-4-5",
     {"cache_text_write_tokens": 400, "cache_write_1h_tokens": 100}),
    ("infer/all-lifetimes-exact", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 800, "cache_write_tokens": 800, "cache_write_5m_tokens": 300, "cache_write_1h_tokens": 500}),
    ("infer/reasoning-only", "openai", "gpt-4o", {"output_reasoning_tokens": 640}),
    ("infer/reasoning-and-text", "openai", "gpt-4o", {"output_reasoning_tokens": 640, "output_text_tokens": 100}),
    ("infer/citation-and-reasoning", "perplexity", "sonar-deep-research",
     {"output_citation_tokens": 250, "output_reasoning_tokens": 4000}),
    ("infer/citation-within-output", "perplexity", "sonar-deep-research",
     {"input_tokens": 30, "output_tokens": 6000, "output_citation_tokens": 250, "output_reasoning_tokens": 4000,
      "web_searches": 12}),
    ("infer/audio-without-input", "google", "gemini-2.5-flash", {"input_audio_tokens": 1500, "output_tokens": 80}),
    ("infer/cached-audio-only", "google", "gemini-2.5-flash", {"cache_audio_read_tokens": 900}),
    ("infer/audio-and-cached-disjoint", "google", "gemini-2.5-flash",
     {"input_audio_tokens": 1500, "cache_read_tokens": 700}),
    ("infer/audio-and-cached-overlap", "google", "gemini-2.5-flash",
     {"input_audio_tokens": 1500, "cache_read_tokens": 700, "cache_audio_read_tokens": 400}),
    ("infer/audio-all-cached", "google", "gemini-2.5-flash",
     {"input_audio_tokens": 900, "cache_audio_read_tokens": 900}),
    ("infer/cached-text-and-audio", "google", "gemini-2.5-flash",
     {"cache_text_read_tokens": 300, "cache_audio_read_tokens": 400}),
    ("infer/cached-image-only", "openai", "gpt-realtime", {"cache_image_read_tokens": 55}),
    ("infer/three-modalities", "openai", "gpt-realtime",
     {"input_text_tokens": 100, "input_audio_tokens": 200, "input_image_tokens": 300, "output_audio_tokens": 150,
      "output_text_tokens": 50}),
    ("infer/tool-tokens", "google", "gemini-2.5-flash", {"input_tool_tokens": 120, "input_text_tokens": 100}),
    ("infer/tool-tokens-inside-text", "google", "gemini-2.5-flash",
     {"input_tool_tokens": 120, "input_text_tokens": 200, "input_text_tool_tokens": 120}),
    ("infer/zero-input-is-not-absent", "openai", "gpt-4o", {"input_tokens": 0, "cache_read_tokens": 10}),
    ("inconsistent/cache-read-over-input", "openai", "gpt-4o", {"input_tokens": 100, "cache_read_tokens": 101}),
    ("inconsistent/cache-read-equals-input", "openai", "gpt-4o", {"input_tokens": 100, "cache_read_tokens": 100}),
    ("inconsistent/read-plus-write-over-input", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 100, "cache_read_tokens": 60, "cache_write_tokens": 60}),
    ("inconsistent/1h-over-write", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 1000, "cache_write_tokens": 60, "cache_write_1h_tokens": 61}),
    ("inconsistent/unpriced-5m-over-write", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 1000, "cache_write_tokens": 60, "cache_write_5m_tokens": 61}),
    ("inconsistent/reasoning-over-output", "perplexity", "sonar-deep-research",
     {"output_tokens": 10, "output_reasoning_tokens": 11}),
    ("inconsistent/unpriced-reasoning-over-output", "openai", "gpt-4o",
     {"output_tokens": 10, "output_reasoning_tokens": 11}),
    ("inconsistent/cached-audio-over-audio", "google", "gemini-2.5-flash",
     {"input_tokens": 1000, "input_audio_tokens": 10, "cache_read_tokens": 20, "cache_audio_read_tokens": 15}),
    ("inconsistent/cached-audio-over-cached", "google", "gemini-2.5-flash",
     {"input_tokens": 1000, "input_audio_tokens": 30, "cache_read_tokens": 10, "cache_audio_read_tokens": 15}),
    ("inconsistent/raw-dialect", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 3, "cache_read_tokens": 12000, "output_tokens": 40}),
    ("partial/output-on-embedding", "openai", "text-embedding-3-small", {"input_tokens": 500, "output_tokens": 1}),
    ("partial/zero-output-on-embedding", "openai", "text-embedding-3-small", {"input_tokens": 500, "output_tokens": 0}),
    ("partial/web-search-without-rate", "openai", "gpt-4o",
     {"input_tokens": 500, "output_tokens": 20, "web_searches": 2}),
    ("partial/only-web-search", "openai", "gpt-4o", {"web_searches": 2}),
    ("partial/code-execution", "anthropic", "claude-sonnet-4-5",
     {"input_tokens": 500, "output_tokens": 20, "code_executions": 1}),
    ("partial/audio-seconds", "openai", "gpt-4o", {"audio_seconds": 3600}),
    ("requests/reported-without-rate", "openai", "gpt-4o", {"input_tokens": 500, "requests": 1}),
    ("partial/nothing-covered-but-request", "perplexity", "sonar-pro", {"web_searches": 3}),
    ("requests/default-one", "perplexity", "sonar-pro", {"input_tokens": 500, "output_tokens": 20}),
    ("requests/zero", "perplexity", "sonar-pro", {"input_tokens": 500, "output_tokens": 20, "requests": 0}),
    ("requests/many", "perplexity", "sonar-pro", {"input_tokens": 500, "output_tokens": 20, "requests": 7}),
    ("requests/alone", "perplexity", "sonar-pro", {"requests": 1}),
    ("requests/empty-usage", "perplexity", "sonar-pro", {}),
    ("known/gpt-4o-input", "openai", "gpt-4o", {"input_tokens": 1_000_000}),
    ("known/gpt-4o-cached", "openai", "gpt-4o", {"cache_read_tokens": 1_000_000}),
    ("known/gpt-4o-output", "openai", "gpt-4o", {"output_tokens": 1_000_000}),
    ("known/gpt-4o-one-of-each", "openai", "gpt-4o", {"input_tokens": 2, "cache_read_tokens": 1, "output_tokens": 1}),
]  # fmt: skip

MODEL_LOOKUPS = [
    ("openai", "no-such-model"), ("anthropic", "gpt-4o"), ("google", "no-such-model"), ("azure", "no-such-model"),
    ("google", "gpt-4o"), ("openai", "claude-sonnet-4-5"), ("openrouter", "gpt-4"), ("mistral", "gpt-4o"),
    ("voyageai", "voyage-9"), ("zai", "glm-4"), ("aws", "claude"), ("x-ai", "gemini-2.5-pro"),
    (None, "no-such-model"), (None, "llama3"), (None, "x"), (None, "claude"), (None, "my-claude-clone"),
    (None, "gpt-"), (None, "gpt-99"), (None, "o3"), (None, "o5"), (None, "gemini"), (None, "  GPT-4o  "),
    (None, "models/gemini-2.5-pro"), (None, "openai/gpt-4o"), (None, "anthropic/claude-sonnet-4.5"),
    (None, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), (None, "mistral-large-latest"), (None, "Codestral-2501"),
    (None, "deepseek-chat"), (None, "DeepSeek-R1"), (None, "grok-3"), (None, "x-ai/grok-4"),
    (None, "kimi-k2-0905-preview"), (None, "glm-4-plus"), (None, "GLM-5"), (None, "MiniMax-M2"), (None, "minimax-m2"),
    (None, "m2-her"), (None, "command-r-plus"), (None, "voyage-3"), (None, "accounts/fireworks/models/deepseek-v3p2"),
    (None, "gpt-4o-2024-08-06"), (None, "gpt-4o-mini"), (None, "o1-pro"),
]  # fmt: skip


# --- names ------------------------------------------------------------------------------------------------------------


def leaves(clause):
    """Yield the text clauses of a match in file order."""
    ((operator, operand),) = clause.items()
    if operator in ("or", "and"):
        for part in operand:
            yield from leaves(part)
    else:
        yield operator, operand


def samples(operator, text):
    """Return names that satisfy one text clause."""
    if operator == "regex":
        return REGEX_SAMPLES[text][0]
    return [{"equals": text, "starts_with": f"{text}-x", "ends_with": f"x-{text}", "contains": f"x-{text}-y"}[operator]]


def near_misses(operator, text):
    """Return names that just fail one text clause."""
    if operator == "regex":
        return REGEX_SAMPLES[text][1]
    return {
        "equals": [f"{text}x", f"x{text}"],
        "starts_with": [f"x{text}", text[:-1]],
        "ends_with": [f"{text}x", text[1:]],
        "contains": [text[:-1] + "~", text[1:]],
    }[operator]


def model_names(model):
    """Return the names made to match a model, the first for its first clause."""
    names = [name for operator, text in leaves(model["match"]) for name in samples(operator, text)]
    for name in names:
        if not matches(model["match"], normalised(name)):
            raise ValueError(f"{name!r} was made to match {model['id']} and does not")
    return names


def all_models(catalogue):
    """Yield (provider, model) in file order."""
    for provider in catalogue.providers:
        for model in provider["models"]:
            yield provider, model


def every_card(catalogue):
    """Yield (provider, model, card) for each rate card of the catalogue."""
    for provider, model in all_models(catalogue):
        for card in model["prices"]:
            yield provider, model, card


# --- usage and time ---------------------------------------------------------------------------------------------------


def card_units(catalogue, card):
    """Return the units a card has rates for."""
    return [catalogue.by_price_key[key] for key in card["rates"]]


def rich_usage(catalogue, card, seed=0):
    """Return counts that give every priced unit a different part of its own, each inside what contains it."""
    units = card_units(catalogue, card)
    own = {unit.name: 501 + 37 * index + seed % 997 for index, unit in enumerate(units)}
    return {unit.name: sum(own[other.name] for other in units if unit.contains(other)) for unit in units}


def time_for(model, card):
    """Return a time at which this card is the one in force, or None if another always wins."""
    times = [AT]
    for other in model["prices"]:
        if "starts" in other:
            start = datetime.datetime.fromisoformat(other["starts"]).replace(tzinfo=datetime.UTC)
            times += [start - DAY / 2, start + DAY / 2]
        if "from_time" in other:
            times += [clock(AT, other["from_time"]), clock(AT, other["to_time"])]
    return next((at for at in times if card_at(model["prices"], at) is card), None)


def clock(day, text):
    """Return a time of day of the catalogue on a given day."""
    return datetime.datetime.combine(day.date(), datetime.time.fromisoformat(text.removesuffix("Z")), datetime.UTC)


def typical_cards(catalogue):
    """Yield one (provider, model, card) for each different set of priced units, reachable by its own model's name."""
    seen = set()
    for provider, model, card in every_card(catalogue):
        shape = frozenset(card["rates"])
        reachable = catalogue.find(provider["id"], model_names(model)[0]) == (provider, model)
        if shape not in seen and reachable and card_at(model["prices"], AT) is card:
            seen.add(shape)
            yield provider, model, card


# --- the sections of the table: each yields (name, provider, model, time, usage) --------------------------------------


def models_section(catalogue):
    """Every model by its own provider with all its units, by its other names, and without a provider."""
    for index, (provider, model) in enumerate(all_models(catalogue)):
        first, *others = dict.fromkeys(model_names(model))
        usage = rich_usage(catalogue, card_at(model["prices"], AT), index * 7) if model["prices"] else PLAIN
        yield f"model/{provider['id']}/{first}", provider["id"], first, AT, usage
        for other in others:
            yield f"name/{provider['id']}/{other}", provider["id"], other, AT, PLAIN
        if provider["id"] != "openrouter" or index % 10 == 0:
            yield f"guess/{provider['id']}/{first}", None, first, AT, PLAIN


def names_section(catalogue):
    """Near misses of every kind of clause, and names in another case or with blanks around them."""
    for index, (provider, model) in enumerate(all_models(catalogue)):
        for operator, text in leaves(model["match"]):
            if operator != "equals" or index % 50 == 0:
                for name in near_misses(operator, text):
                    yield f"miss/{operator}/{provider['id']}/{name}", provider["id"], name, AT, PLAIN
            if operator != "regex" and text != text.lower():
                for name in {text.lower(): 0, text.upper(): 0}:
                    yield f"case/{provider['id']}/{text}/{name}", provider["id"], name, AT, PLAIN
        if index % 20 == 0:
            name = f" {model_names(model)[0].upper()}\t"
            yield f"case/{provider['id']}/{name}", provider["id"].upper(), name, AT, PLAIN
    for provider in catalogue.providers:
        for kind in ("provider_match", "model_match"):
            for operator, text in leaves(provider[kind]) if kind in provider else ():
                for name in [*samples(operator, text), *near_misses(operator, text)]:
                    if kind == "model_match":
                        yield f"model_match/{provider['id']}/{name}", None, name, AT, PLAIN
                    else:
                        model = model_names(provider["models"][0])[0]
                        yield f"provider_match/{provider['id']}/{name}", name, model, AT, PLAIN


def lookup_section(catalogue):
    """Aliases, fallbacks, proxies, and what is not there at all."""
    for provider, model in PROVIDER_NAMES:
        yield f"alias/{provider}/{model}", provider, model, AT, PLAIN
    for model in LITELLM_MODELS:
        yield f"litellm/{model}", "litellm", model, AT, PLAIN
    for spelling in ("LiteLLM", " LITELLM "):
        yield f"litellm/spelled{spelling}/azure/o1", spelling, "azure/o1", AT, PLAIN
    for provider, model in MODEL_LOOKUPS:
        yield f"lookup/{provider or '-'}/{model}", provider, model, AT, PLAIN
    for provider in catalogue.providers:
        for fallback_id in provider.get("fallback_providers", ()):
            for model in catalogue.provider_by_id(fallback_id)["models"]:
                name = model_names(model)[0]
                yield f"fallback/{provider['id']}/{fallback_id}/{name}", provider["id"], name, AT, PLAIN


def units_section(catalogue):
    """Every unit alone on every kind of card, and what inference, contradictions, zeros and size do to each kind."""
    for provider, model, card in typical_cards(catalogue):
        model_name = model_names(model)[0]
        where = f"{provider['id']}/{model_name}"
        units = card_units(catalogue, card)
        rich = rich_usage(catalogue, card)
        for unit in catalogue.units:
            yield f"unit/{where}/{unit}", provider["id"], model_name, AT, {unit: 1003}
        for unit in units:
            without = {name: count for name, count in rich.items() if name != unit.name}
            yield f"absent/{where}/{unit.name}", provider["id"], model_name, AT, without
            yield f"zeroed/{where}/{unit.name}", provider["id"], model_name, AT, {**rich, unit.name: 0}
            inner = [rich[other.name] for other in units if unit.contains(other) and other is not unit]
            if inner:
                short = {**rich, unit.name: max(inner) - 1}
                yield f"short/{where}/{unit.name}", provider["id"], model_name, AT, short
        yield f"zero/{where}", provider["id"], model_name, AT, dict.fromkeys(rich, 0)
        yield f"empty/{where}", provider["id"], model_name, AT, {}
        yield f"big/{where}", provider["id"], model_name, AT, {name: BIG + count for name, count in rich.items()}
        for unit in units:
            yield f"big/{where}/{unit.name}", provider["id"], model_name, AT, {unit.name: BIG}


def tiers_section(catalogue):
    """Every tiered card just below, at and just above each threshold."""
    for provider, model, card in every_card(catalogue):
        tiered = [rate for rate in card["rates"].values() if isinstance(rate, dict)]
        thresholds = sorted({tier["above"] for rate in tiered for tier in rate["tiers"]})
        at = time_for(model, card)
        if not thresholds or at is None:
            continue
        position = model["prices"].index(card)
        name = model_names(model)[0]
        cacheable = "cache_read_mtok" in card["rates"]
        for threshold, step in itertools.product(thresholds, (-1, 0, 1)):
            size = threshold + step
            where = f"tier/{provider['id']}/{name}/{position}/{size}"
            yield where, provider["id"], name, at, {"input_tokens": size, "output_tokens": 1001}
            rich = rich_usage(catalogue, card)
            yield f"{where}/rich", provider["id"], name, at, {**rich, "input_tokens": size}
            if cacheable:
                yield f"{where}/inferred", provider["id"], name, at, {"cache_read_tokens": size, "output_tokens": 1001}
        for size in (thresholds[-1] * 4, BIG):
            usage = {"input_tokens": size, "output_tokens": 3}
            yield f"tier/{provider['id']}/{name}/{position}/{size}", provider["id"], name, at, usage
        usage = {"input_tokens": 1, "output_tokens": thresholds[-1] + 1}
        yield f"tier/{provider['id']}/{name}/{position}/output-does-not-count", provider["id"], name, at, usage


def times_section(catalogue):
    """Every dated card around its start, every daily window around its edges, and both at the ends of time."""
    for provider, model in all_models(catalogue):
        name = model_names(model)[0]
        moments = {}
        for card in model["prices"]:
            if "starts" in card:
                start = datetime.datetime.fromisoformat(card["starts"]).replace(tzinfo=datetime.UTC)
                for step in (-DAY, -MICROSECOND, 0 * DAY, MICROSECOND, DAY - MICROSECOND, DAY):
                    moments[start + step] = None
            if "from_time" in card:
                for day in (datetime.datetime(2025, 2, 28, tzinfo=datetime.UTC), AT):
                    start, end = clock(day, card["from_time"]), clock(day, card["to_time"])
                    midnight = clock(day, "00:00:00Z")
                    for edge in (start, end, midnight, midnight + DAY):
                        for step in (-MICROSECOND, 0 * DAY, MICROSECOND):
                            moments[edge + step] = None
                    moments[midnight + DAY / 2] = None
        if not moments:
            continue
        for year in (1970, 2025, 2099):
            moments[datetime.datetime(year, 12, 31, 23, 59, 59, 999999, datetime.UTC)] = None
        rich = rich_usage(catalogue, model["prices"][0])
        sizes = {"rich": rich, "large": {"input_tokens": 300_001, "output_tokens": 77}}
        for at, (size, usage) in itertools.product(sorted(moments), sizes.items()):
            yield f"time/{provider['id']}/{name}/{written(at)}/{size}", provider["id"], name, at, usage


def rounding_section(catalogue):
    """Charges that end on half a nano-dollar with an even and an odd neighbour, or close to it, once for each rate."""
    seen = set()
    halves = []
    for provider, model, card in every_card(catalogue):
        name = model_names(model)[0]
        at = time_for(model, card)
        if at is None or catalogue.find(provider["id"], name) != (provider, model):
            continue
        where = f"{provider['id']}/{name}"
        odd_units = []
        for unit in card_units(catalogue, card):
            rate = card["rates"][unit.price_key]
            nano = Fraction(rate["base"] if isinstance(rate, dict) else rate) * NANO_PER_USD / unit.per
            if nano.denominator == 1:
                continue
            if nano.denominator % 2 == 0 and nano.denominator < 100:
                odd_units.append((unit, nano.denominator // 2))
            if (unit.name, nano) in seen:
                continue
            seen.add((unit.name, nano))
            for kind, count in half_counts(nano):
                yield f"round/{kind}/{where}/{unit.name}/{count}", provider["id"], name, at, {unit.name: count}
        for (first, first_count), (second, second_count) in itertools.combinations(odd_units, 2):
            if not first.contains(second) and not second.contains(first):
                usage = {first.name: first_count, second.name: second_count}
                halves.append((f"round/once/{where}/{first.name}+{second.name}", provider["id"], name, at, usage))
    # Two halves make a whole: rounding each part would be wrong by one.
    yield from halves


def half_counts(nano):
    """Return (kind, count) for the smallest counts that hit a half exactly, or for the nearest ones."""
    half = Fraction(1, 2)
    found = {}
    for count in range(1, 2001):
        whole, rest = divmod(nano * count, 1)
        if rest == half:
            found.setdefault("half-over-odd" if whole % 2 else "half-over-even", count)
    if found:
        return sorted(found.items())
    nearest = sorted(range(1, 2001), key=lambda count: abs(nano * count % 1 - half))
    return [("nearest", count) for count in sorted(nearest[:2])]


def usage_section(_catalogue):
    """The hand-made counts."""
    for name, provider, model, usage in USAGE_CASES:
        yield name, provider, model, AT, usage


SECTIONS = (
    usage_section,
    lookup_section,
    models_section,
    names_section,
    units_section,
    tiers_section,
    times_section,
    rounding_section,
)


# --- writing ----------------------------------------------------------------------------------------------------------


def written(at):
    """Write a time as RFC 3339 in UTC, with microseconds only where there are any."""
    return at.isoformat().replace("+00:00", "Z")


def main():
    """Price every case and write the table to standard output."""
    catalogue = Catalogue()
    names = set()
    seen = set()
    lines = []
    for section in SECTIONS:
        for name, provider, model, at, usage in section(catalogue):
            call = {"provider": provider, "model": model, "at": written(at), "usage": usage}
            key = json.dumps(call)
            if key in seen:
                continue
            seen.add(key)
            if name in names:
                raise ValueError(f"two cases are called {name}")
            names.add(name)
            charge = catalogue.price(provider, model, at, usage)
            answer = {
                "status": charge.status,
                "cost_nano": charge.cost_nano,
                "provider_id": charge.provider_id,
                "model_id": charge.model_id,
            }
            lines.append(json.dumps({"name": name, **call, **answer}, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.buffer.write(("\n".join(lines) + "\n").encode("utf-8"))


if __name__ == "__main__":
    main()
