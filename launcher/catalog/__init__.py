"""What the command lines of SGLang, Dynamo and the routers accept, per version, without them.

    releases    the catalogues (data/flags.json, dynamo.json): each version's flags; which versions are near another
    pairs       which SGLang and Dynamo go together, and which of them an image's name tells
    renames     what followed flags that went (data/renames.json)
    given       `Flags`: the flags of a worker, found under whatever names a config gives them
    catalog     `Catalog`: the judgement of one version of one program, and what to write instead   (flags, values)
    installed   the flags of an SGLang that is installed                             (extract)

Loading takes about 6 ms; nothing heavier than the standard library is imported. Nothing is imported here: a plan
needs `given` alone.
"""
