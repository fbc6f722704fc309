#!/bin/sh
# Clusters of iNaturalist's test species,
# by the Hi-LANDER of train_inat_resampled_1_in_6_per_class.sh. The features come from a pickle, once:
#   shelfmark prepare pss_features --source FILE.pkl --out dataset/hilander/inat_test
lander=discovery.clusterer.lander
exec shelfmark cluster run --embeddings dataset/hilander/inat_test --clusterer log/hilander/inat_1_in_6 \
    --out log/hilander/inat_test_by_inat_1_in_6 discovery.clusterer.k=10 $lander.tau=0.1 \
    $lander.max_levels=10 $lander.early_stop=true "$@"
