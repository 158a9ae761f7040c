"""What SGLang's command line accepts, per version, without SGLang.

    releases    the catalogues (data/flags.json): each version's flags; which version is nearest to another
    renames     what followed flags that went (data/renames.json)
    given       `Flags`: the flags of a worker, found under whatever names a config gives them
    catalog     `Catalog`: the judgement of one version, and what to write instead   (flags, values)
    installed   the flags of an SGLang that is installed                             (extract)

Loading takes about 4 ms; nothing heavier than the standard library is imported. Nothing is imported here: a plan
needs `given` alone.
"""
