// Last of a page's own scripts: the language that its address asks for.
"use strict";

if (fromAddress()) switchTo(fromAddress());
document.documentElement.dataset.tables = "ready";
