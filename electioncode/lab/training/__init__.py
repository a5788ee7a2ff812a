"""The paper's training runs: one model, one attack, several schemes. Needs the extra ``train``.

What is trained: `datasets` (images), `cifar` (CIFAR-10's own files), `amazon` (logistic regression on sparse rows),
`models` and `resnet`. With what: `schemes` says which codes and which attackers, `collusion` how attackers see
everything, `partitions` who keeps which samples, `server_momentum` what the published code does, `host` how a model
elsewhere votes on the CPU. `runner` trains one scheme on one task; `report` and `plots` write what came out.
``electioncode train`` and `electioncode.reproduce` put them together.
"""
