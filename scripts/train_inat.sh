#!/bin/sh
# Hi-LANDER learns on the training species of iNaturalist 2018.
# Its features come from a pickle, once:
#   shelfmark prepare pss_features --source FILE.pkl --out dataset/hilander/inat_train
lander=discovery.clusterer.lander
exec shelfmark cluster fit --embeddings dataset/hilander/inat_train --out log/hilander/inat \
    discovery.clusterer.name=lander $lander.layer=gat $lander.cluster_features=false \
    "$lander.ks=[10, 5, 3]" "$lander.levels=[2, 3, 4]" $lander.hidden=512 \
    $lander.balance=true $lander.optimizer=sgd $lander.lr=0.01 \
    $lander.epochs=250 $lander.batch_size=4096 "$@"
