"""Model folders made on the spot: of every kind of module, and hostile ones, which leave a mark when they run code."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

OWN = "sentence_transformers.models."
WIDTH = 32


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def merge(path: Path, **more: Any) -> None:
    write(path, json.loads(path.read_bytes()) | more if path.is_file() else more)


def modules(folder: Path, *parts: tuple[str, str]) -> None:
    """Write modules.json from paths and types."""
    write(folder / "modules.json", [{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(parts)])


def copy(bert: Path, folder: Path) -> Path:
    shutil.copytree(bert, folder)
    return folder


def pooled(folder: Path, bert: Path, *parts: tuple[str, str], **pooling: Any) -> Path:
    """Write a transformer with a pooling in the layout of version 2, and what comes after it."""
    copy(bert, folder)
    modules(folder, ("", f"{OWN}Transformer"), ("1_Pooling", f"{OWN}Pooling"), *parts)
    write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True, **pooling},
    )
    return folder


def saved(folder: Path, bert: Path, *after: Any, **settings: Any) -> Path:
    """Let the library write a transformer with modules after it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    SentenceTransformer(modules=[Transformer(str(bert)), *after], device="cpu", **settings).save_pretrained(
        str(folder), safe_serialization=True, create_model_card=False
    )
    return folder


def router(folder: Path, bert: Path, *, dense: bool = False, default: str | None = "document") -> Path:
    """Let the library write a Router: queries by a transformer, documents by a static embedding."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Router, StaticEmbedding, Transformer
    from tokenizers import Tokenizer

    torch.manual_seed(3)
    query = [Transformer(str(bert)), *([Dense(WIDTH, WIDTH, module_input_name="token_embeddings")] if dense else [])]
    static = StaticEmbedding(Tokenizer.from_file(str(bert / "tokenizer.json")), embedding_dim=WIDTH)
    made = Router.for_query_document([*query, Pooling(WIDTH)], [static], default_route=default)
    SentenceTransformer(modules=[made], device="cpu").save_pretrained(
        str(folder), safe_serialization=True, create_model_card=False
    )
    return folder


def adapter(folder: Path, bert: Path) -> Path:
    """Let peft write an adapter alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    torch.manual_seed(5)
    config = LoraConfig(r=4, init_lora_weights=False, target_modules=["query", "value"])
    get_peft_model(AutoModel.from_pretrained(bert), config).save_pretrained(folder)
    return folder


# --- hostile folders: each makes the file ``mark`` when its code runs ---


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def evil(folder: Path, mark: Path, name: str = "evil") -> None:
    """Put a module beside the model that makes the mark when it is imported, with every class a library may ask for."""
    (folder / f"{name}.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\nimport torch\n"
        "class Module(torch.nn.Module):\n    @classmethod\n    def load(cls, *a, **k): return cls()\n"
        "Config = Model = Tokenizer = Processor = Module\n",
        encoding="utf-8",
    )


AUTO = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", None],
    "AutoProcessor": "evil.Processor",
}


def _routed(folder: Path, bert: Path, mark: Path, type_: str, inside: str = "") -> None:
    copy(bert, folder)
    evil(folder, mark)
    place = folder / inside / "q_0_X"
    place.mkdir(parents=True)
    evil(place, mark)
    for name in ("config.json", "x.json", "model.json"):
        (place / name).write_bytes(pickle.dumps(Evil(mark)))
    write(
        folder / inside / "router_config.json",
        {"types": {"q_0_X": type_}, "structure": {"query": ["q_0_X"]}, "parameters": {"default_route": "query"}},
    )
    modules(folder, (inside, f"{OWN}Router"))


def _router_class(folder: Path, bert: Path, mark: Path) -> None:
    _routed(folder, bert, mark, "evil.Module")


def _router_joblib(folder: Path, bert: Path, mark: Path) -> None:
    _routed(folder, bert, mark, "joblib.numpy_pickle.load")


def _router_through_the_library(folder: Path, bert: Path, mark: Path) -> None:
    _routed(folder, bert, mark, "sentence_transformers.base.model.pickle")


def _router_legacy(folder: Path, bert: Path, mark: Path) -> None:
    _routed(folder, bert, mark, "evil.Module", "0_Asym")
    (folder / "0_Asym" / "router_config.json").rename(folder / "0_Asym" / "config.json")
    modules(folder, ("0_Asym", f"{OWN}Asym"))


def _router_nested(folder: Path, bert: Path, mark: Path) -> None:
    _routed(folder, bert, mark, f"{OWN}Router")
    inner = folder / "q_0_X"
    write(
        inner / "router_config.json",
        {"types": {"d_0_Y": "evil.Module"}, "structure": {"d": ["d_0_Y"]}, "parameters": {"default_route": "d"}},
    )
    (inner / "d_0_Y").mkdir()
    evil(inner / "d_0_Y", mark)


def _second_transformer(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert, ("2_Transformer", f"{OWN}Transformer"))
    second = copy(bert, folder / "2_Transformer")
    evil(folder, mark)
    evil(second, mark)
    merge(second / "config.json", auto_map=AUTO, model_type="mine")


def _nested_config(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    evil(folder, mark)
    merge(folder / "config.json", text_config={"deeper": [{"auto_map": AUTO}]})


def _dense(named: str) -> Callable[[Path, Path, Path], None]:
    def make(folder: Path, bert: Path, mark: Path) -> None:
        import numpy as np
        from safetensors.numpy import save_file

        pooled(folder, bert, ("2_Dense", f"{OWN}Dense"))
        evil(folder, mark)
        write(
            folder / "2_Dense" / "config.json",
            {"in_features": WIDTH, "out_features": 4, "bias": False, "activation_function": named},
        )
        save_file({"linear.weight": np.zeros((4, WIDTH), np.float32)}, folder / "2_Dense" / "model.safetensors")

    return make


def _auto_map(file: str) -> Callable[[Path, Path, Path], None]:
    def make(folder: Path, bert: Path, mark: Path) -> None:
        pooled(folder, bert)
        evil(folder, mark)
        merge(folder / file, auto_map=AUTO, **({"model_type": "mine"} if file == "config.json" else {}))

    return make


def _tokenizer_class(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    evil(folder, mark)
    merge(folder / "tokenizer_config.json", tokenizer_class="evil.Module")


def _own_type(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert, ("", "evil.Module"))
    evil(folder, mark)


def _beside_our_step(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert, ("2_Step", "hengyu.tools.export_model.steps.Step"), ("", "evil.Module"))
    evil(folder, mark)
    write(folder / "2_Step" / "config.json", {"step": "l2", "width": WIDTH})


def _words_tokenizer(folder: Path, bert: Path, mark: Path) -> None:
    copy(bert, folder)
    evil(folder, mark)
    modules(folder, ("0_WordEmbeddings", f"{OWN}WordEmbeddings"), ("1_Pooling", f"{OWN}Pooling"))
    write(folder / "0_WordEmbeddings" / "wordembedding_config.json", {"tokenizer_class": "evil.Module"})
    shutil.copy(folder / "model.safetensors", folder / "0_WordEmbeddings")


def _adapter_with(**more: Any) -> Callable[[Path, Path, Path], None]:
    def make(folder: Path, bert: Path, mark: Path) -> None:
        import sys

        adapter(folder, bert)
        evil(folder, mark)
        sys.path_importer_cache.pop(str(folder), None)
        merge(folder / "adapter_config.json", **more)

    return make


def _pickled_adapter(folder: Path, bert: Path, mark: Path) -> None:
    adapter(folder, bert)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil(mark)))


def _pickled_dense(folder: Path, bert: Path, mark: Path) -> None:
    _dense("torch.nn.modules.activation.Tanh")(folder, bert, mark)
    (folder / "2_Dense" / "model.safetensors").unlink()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))


def _pickled_weights(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))
    merge(folder / "sentence_bert_config.json", model_args={"use_safetensors": False, "weights_only": False})


def _arguments(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    (folder / "other").mkdir()
    (folder / "other" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))
    merge(folder / "sentence_bert_config.json", model_args={"subfolder": "other", "weights_only": False})


def _elsewhere(weights: str) -> Callable[[Path, Path, Path], None]:
    def make(folder: Path, bert: Path, mark: Path) -> None:
        pooled(folder, bert)
        (folder / "model.safetensors").rename(folder.parent / "away.safetensors")
        shards = {"embeddings.word_embeddings.weight": weights.format(parent=folder.parent)}
        write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": shards})

    return make


def _named_weights(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    (folder / "model.safetensors").rename(folder.parent / "away.safetensors")
    merge(folder / "config.json", transformers_weights="../away.safetensors")


def _link(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    (folder / "model.safetensors").rename(folder.parent / "away.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "away.safetensors")


def _path(path: str) -> Callable[[Path, Path, Path], None]:
    def make(folder: Path, bert: Path, mark: Path) -> None:
        pooled(folder, bert)
        shutil.copytree(folder / "1_Pooling", folder.parent / "away", dirs_exist_ok=True)
        modules(folder, ("", f"{OWN}Transformer"), (path.format(parent=folder.parent), f"{OWN}Pooling"))

    return make


def _kernel(folder: Path, bert: Path, mark: Path) -> None:
    pooled(folder, bert)
    merge(folder / "config.json", attn_implementation="somebody/kernel")


HOSTILE: dict[str, Callable[[Path, Path, Path], None]] = {
    "Router class": _router_class,
    "Router joblib": _router_joblib,
    "Router through the library": _router_through_the_library,
    "Router legacy": _router_legacy,
    "Router nested": _router_nested,
    "second transformer": _second_transformer,
    "nested config": _nested_config,
    "Dense evil": _dense("evil.Module"),
    "Dense torch": _dense("torch.utils.collect_env.run"),
    "Dense builtins": _dense("builtins.exec"),
    "auto_map model": _auto_map("config.json"),
    "auto_map tokenizer": _auto_map("tokenizer_config.json"),
    "auto_map processor": _auto_map("processor_config.json"),
    "auto_map preprocessor": _auto_map("preprocessor_config.json"),
    "auto_map sentence": _auto_map("sentence_bert_config.json"),
    "tokenizer class": _tokenizer_class,
    "type of its own": _own_type,
    "beside our step": _beside_our_step,
    "word tokenizer": _words_tokenizer,
    "adapter class": _adapter_with(auto_mapping={"base_model_class": "Module", "parent_library": "evil"}),
    "adapter megatron": _adapter_with(megatron_config={"a": 1}, megatron_core="evil"),
    "adapter corda": _adapter_with(init_lora_weights="corda", corda_config={"cache_file": "x"}),
    "adapter auto_map": _adapter_with(auto_map=AUTO),
    "adapter pickled": _pickled_adapter,
    "Dense pickled": _pickled_dense,
    "weights pickled": _pickled_weights,
    "arguments": _arguments,
    "index up": _elsewhere("../away.safetensors"),
    "index absolute": _elsewhere("{parent}/away.safetensors"),
    "index below": _elsewhere("sub/away.safetensors"),
    "named weights": _named_weights,
    "link": _link,
    "path up": _path("../away"),
    "path absolute": _path("{parent}/away"),
    "path windows": _path("..\\away"),
    "path nul": _path("away\0"),
    "kernel": _kernel,
}
