#!/bin/sh
# Clusters of faces of IMDB, drawn so that they are distributed as DeepGlint's,
# by the Hi-LANDER of train_deepglint.sh. The features come from a pickle, once:
#   shelfmark prepare pss_features --source FILE.pkl --out dataset/hilander/imdb_test_sampled
lander=discovery.clusterer.lander
exec shelfmark cluster run --embeddings dataset/hilander/imdb_test_sampled --clusterer log/hilander/deepglint \
    --out log/hilander/imdb_test_sampled_by_deepglint discovery.clusterer.k=10 $lander.tau=0.8 \
    $lander.max_levels=10 $lander.early_stop=true "$@"
