#!/bin/sh
# Hi-LANDER learns on the faces of DeepGlint.
# Its features come from a pickle, once:
#   shelfmark prepare pss_features --source FILE.pkl --out dataset/hilander/deepglint_train
lander=discovery.clusterer.lander
exec shelfmark cluster fit --embeddings dataset/hilander/deepglint_train --out log/hilander/deepglint \
    discovery.clusterer.name=lander $lander.layer=gcn $lander.cluster_features=true \
    "$lander.ks=[10, 5, 3]" "$lander.levels=[2, 3, 4]" $lander.hidden=512 \
    $lander.balance=true $lander.optimizer=sgd $lander.lr=0.01 \
    $lander.epochs=250 $lander.batch_size=4096 "$@"
