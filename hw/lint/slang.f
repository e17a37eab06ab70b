// Options of slang (pyslang). Everything but what the style asks for:
-Wextra
-Wpedantic
-Wno-case-redundant-default  // lowRISC wants a default in every `unique case`: a corrupt state recovers
-Wno-useless-cast            // casts to a parameter's width are useless for some values of it only
