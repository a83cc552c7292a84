"""The demo: a small cluster of network namespaces, the agent on one of its nodes, and real connections to look at.

    python -m examples.demo                 every story of examples/, in seven scenes (`make demo`)
    python -m examples.demo web-ports ...   only these stories

    topology   who is where, and who listens on what      stage     the cluster, the agent, the manifests it follows
    manifests  the YAML of examples/, whole and rescaled  tables    each story's connections, what must come of them
    expect     the judge of one connection                traffic   makes a table's connections, round by round
    steady     connections without a pause                scaling   a Service scaled under steady traffic
    scenes     what is told and shown, in which order     scene_*   the scenes that are more than one table
    view       a terminal or a log, headings, live        looks     the tables
    host       this machine's rules and addresses         signals   Ctrl-C, at a time of our choosing
    main       the command: root, last words, exit code

It uses the lab of the tests (tests/lab), which knows nothing of it.
"""
