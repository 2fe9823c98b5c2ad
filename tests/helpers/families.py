"""Tiny random folders of every architecture of transformers that reads text: made by shrinking its default configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VOCABULARY = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *"今天气真好我们去公园散步吧不是他她它的，。？abcdefghij")
POSITIONS = 40

FAMILIES = (
    "afmoe", "albert", "apertus", "arcee", "aria_text", "axk2", "bailing_hybrid", "bart", "beam", "bert",
    "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "bitnet", "blenderbot", "blenderbot-small", "bloom",
    "camembert", "clip_text_model", "codegen", "cohere", "cohere2", "cohere2_moe", "convbert", "cpmant", "ctrl",
    "cwm", "data2vec-text", "deberta", "deberta-v2", "deepseek_v2", "deepseek_v3", "deepseek_v4", "diffllama",
    "distilbert", "doge", "electra", "embedding_gemma2_text", "ernie", "ernie4_5", "ernie4_5_moe", "esm", "esmc",
    "eurobert", "exaone4", "exaone_moe", "falcon", "falcon_mamba", "flaubert", "flex_olmo", "flint", "fnet", "fsmt",
    "funnel", "gemma", "gemma2", "gemma3_text", "gemma4_unified_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite",
    "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite",
    "granite_docling_text", "granite_swa", "granitemoe", "granitemoe_swa", "granitemoeshared", "gte", "helium",
    "hrm_text", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hyperclovax", "ibert", "imagegpt", "inkling2_text",
    "inkling_text", "internlm3", "iquestcoder", "jais2", "jamba", "jetmoe", "jina_embeddings_v3", "kolibri1",
    "laguna", "layoutlm", "led", "lfm2", "lfm3", "llama", "llama4_text", "longformer", "longt5", "luke", "m2m_100",
    "mamba", "marian", "mbart", "megatron-bert", "mellum", "minicpm3", "minimax", "minimax_m2", "minimax_m3_vl_text",
    "ministral", "ministral3", "mistral", "mistral4", "mistral_large4_text", "mixtral", "mobilebert", "modernbert",
    "modernbert-decoder", "molmo2_text", "moshi", "mpnet", "mpt", "mra", "mt5", "muse_glimmer_text", "mvp",
    "nanochat", "nemotron", "nemotron_h", "nomic_bert", "nystromformer", "olmo", "olmo2", "olmo3", "olmo_hybrid",
    "olmoe", "openai-gpt", "openai_privacy_filter", "opt", "pegasus", "pegasus_x", "persimmon", "phi", "phi3",
    "phimoe", "plbart", "prophetnet", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe",
    "qwen3_next", "qwen3_vl_moe_text", "qwen3_vl_text", "qwen4_exp_text", "recurrent_gemma", "reformer", "rembert",
    "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "rwkv", "sam3_lite_text_text_model", "seed_oss",
    "smollm3", "solar_open", "splinter", "squeezebert", "stablelm", "starcoder2", "switch_transformers", "t5",
    "tapas", "tipsv2_text_model", "ultrabert", "umt5", "vaultgemma", "visual_bert", "xglm", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "xlnet", "xlstm", "xmod", "yoso", "youtu",
)  # fmt: skip
"""The families of transformers whose model takes a text alone."""

LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys((
        "bros", "layoutlmv2", "layoutlmv3", "lilt", "markuplm", "udop",
    ), "reads a page: places of words beside them"),
    **dict.fromkeys((
        "lxmert", "pi0", "tvp", "vilt",
    ), "reads a text with an image"),
    **dict.fromkeys((
        "csm", "fastspeech2_conformer", "fastspeech2_conformer_with_hifigan", "gradium_phonon_tts", "higgs_audio_v2",
        "higgs_audio_v2_tokenizer", "kyutai_speech_to_text", "musicgen", "musicgen_melody", "pocket_tts",
        "seamless_m4t", "seamless_m4t_v2", "vits", "voxtral_realtime_text",
    ), "is made for speech or music"),
    **dict.fromkeys((
        "deepseek_v32", "dots3_note_text", "evolla", "gemma4_text", "glm5_next_text", "glm_moe_dsa", "hy_v4",
        "longcat_flash", "muse_spark_text", "t5gemma", "t5gemma2",
    ), "its smallest shape still has millions of weights"),
    **dict.fromkeys((
        "axk1", "bamba", "chameleon", "cohere_compass_text", "cosmos3_edge_text", "dbrx", "dots1", "gemma3n_text",
        "granitemoehybrid", "lfm2_moe", "mamba2", "mimo_v2_flash", "neomme", "zamba", "zamba2", "zaya",
    ), "its sizes depend on one another in ways of its own"),
    **dict.fromkeys((
        "glm4v_moe_text", "glm4v_text", "glm_image_text", "glm_ocr_text", "hunyuan_vl_text", "qwen2_5_vl_text",
        "qwen2_vl_text",
    ), "is the text half of a model for images, whose positions have three axes"),
    "canine": "reads characters, and stops with an error for texts shorter than four",
    "dpr": "gives a pooler's output alone, for which sentence-transformers has no text",
    "nllb-moe": "needs a decoder's input, and sentence-transformers loads no encoder of it",
    **dict.fromkeys((
        "falcon_h1", "kimi_linear",
    ), "takes half a minute a pass without a GPU"),
}  # fmt: skip
"""Families that take token ids and are not held, each with the reason."""

_SIZES: Mapping[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "d_embed"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads", "num_key_value_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner"), 48),
    **dict.fromkeys(("ffn_hidden_size", "moe_intermediate_size", "shared_expert_intermediate_size"), 48),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "kv_channels"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), POSITIONS),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_experts_per_tok": 2,
    "vocab_size": len(VOCABULARY),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

_OWN: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("gptj", "codegen"), {"rotary_dim": 4}),
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "xmod": {"languages": ["zh_CN"], "default_language": "zh_CN"},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 32},
    "funnel": {"block_sizes": [2, 2], "num_decoder_layers": 1, "d_inner": 48},
    "roc_bert": {
        "pronunciation_vocab_size": 8, "shape_vocab_size": 8, "enable_pronunciation": False, "enable_shape": False,
    },
    "reformer": {
        "attn_layers": ["local", "lsh"], "axial_pos_embds": False, "hidden_size": 32, "feed_forward_size": 48,
        "attention_head_size": 8, "num_buckets": 2, "lsh_attn_chunk_length": 8, "local_attn_chunk_length": 8,
    },
    "longformer": {"attention_window": 8},
    "led": {"attention_window": 8, "max_encoder_position_embeddings": POSITIONS, "max_decoder_position_embeddings": POSITIONS},
    "big_bird": {"attention_type": "original_full"},
    "bigbird_pegasus": {"attention_type": "original_full"},
    **dict.fromkeys(("m2m_100", "marian", "blenderbot", "blenderbot-small", "pegasus", "pegasus_x"), {"decoder_start_token_id": 1}),
    "esm": {"position_embedding_type": "absolute", "mask_token_id": 4, "token_dropout": False},
    **dict.fromkeys(("modernbert", "modernbert-decoder"), {"cls_token_id": 1, "sep_token_id": 2}),
}  # fmt: skip
"""What some families need beside."""


class NotText(Exception):
    """A family that gives no states for a text, with the reason."""


def names() -> list[str]:
    """Return every family that transformers has a model without a head for."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return sorted(MODEL_MAPPING_NAMES)


def configuration(name: str) -> tuple[Any, type]:
    """Return a tiny configuration of a family, and the class of its model; raises `NotText` where it does not read text."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    kind = CONFIG_MAPPING[name]
    known: set[str] = set(inspect.signature(kind.__init__).parameters)
    for base in kind.__mro__:
        known |= set(getattr(base, "__annotations__", {})) | set(getattr(base, "attribute_map", {}))
    model = MODEL_MAPPING[kind]
    model = model[0] if isinstance(model, tuple) else model
    if "input_ids" not in inspect.signature(model.forward).parameters:
        raise NotText("its model takes no input_ids")
    if known & {"vision_config", "audio_config", "text_config", "encoder_config"}:
        raise NotText("it is made of several models")
    own = _OWN.get(name, {})
    return kind(**{k: v for k, v in _SIZES.items() if k in known and k not in own}, **own), model


def save_tokenizer(
    folder: Path,
    *,
    padding: int = 0,
    trailing: bool = True,
    framed: bool = True,
    types: tuple[int, int] = (0, 0),
    words: str = "",
) -> None:
    """Save a tokenizer of one token a character, with [CLS] and [SEP] around a text.

    Args:
        folder: where.
        padding: the id of [PAD]; the word that stands there changes places with it.
        trailing: whether there is a [SEP].
        framed: whether there are special tokens at all.
        types: the token types of the text and of [SEP].
        words: the characters, by default those of `VOCABULARY`.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    listed = [*VOCABULARY[:5], *words] if words else list(VOCABULARY)
    listed[0], listed[padding] = listed[padding], listed[0]
    vocabulary = {word: number for number, word in enumerate(listed)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if framed:
        special = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
        single = f"[CLS]:{types[0]} $A:{types[0]}" + (f" [SEP]:{types[1]}" if trailing else "")
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    held = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    inputs = ["input_ids", *(["token_type_ids"] if any(types) else []), "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=inputs, **held).save_pretrained(folder)


def save_family(folder: Path, name: str, *, seed: int = 0, **options: Any) -> Any:
    """Save a tiny random model of a family with a tokenizer; returns its configuration. Raises `NotText`."""
    import torch

    config, model = configuration(name)
    config.pad_token_id = options.get("padding", getattr(config, "pad_token_id", None))
    with torch.device("meta"):
        count = sum(p.numel() for p in model(config).parameters())
    if count > 5_000_000:
        raise NotText(f"its shrunken model has {count:,} weights")
    torch.manual_seed(seed)
    made = model(config).eval()
    with torch.no_grad():
        for p in made.parameters():  # default scales leave states that are nearly the same for every token
            if p.ndim > 1:
                p.normal_(0.0, 0.2)
    made.save_pretrained(folder)
    save_tokenizer(folder, **options)
    return config
