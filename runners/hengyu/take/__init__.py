"""The old place of `hengyu.tools.export_model`, which exported models of version 0.1 name in their modules.json."""
