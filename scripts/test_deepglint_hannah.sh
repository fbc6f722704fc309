#!/bin/sh
# Clusters of the faces of Hannah,
# by the Hi-LANDER of train_deepglint.sh. The features come from a pickle, once:
#   shelfmark prepare pss_features --source FILE.pkl --out dataset/hilander/hannah_test
lander=discovery.clusterer.lander
exec shelfmark cluster run --embeddings dataset/hilander/hannah_test --clusterer log/hilander/deepglint \
    --out log/hilander/hannah_test_by_deepglint discovery.clusterer.k=10 $lander.tau=0.8 \
    $lander.max_levels=10 $lander.early_stop=true "$@"
