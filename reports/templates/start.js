// Last of a page's own scripts: the language that its address or its reader's browser asks for.
"use strict";

if (wanted() === "zh") switchTo("zh");
document.documentElement.dataset.tables = "ready";
