#!/usr/bin/env bash
# Predict with N processes, which share the tiles, or the lines of a SEG-Y survey: as train_multi_gpu_ring.sh, with the
# flags of tgs_predict.py.
#
#   ./predict_multi_gpu_ring.sh 4 --use_folds=True --model=resnet34 --data_path=survey.sgy
TGS_RING_SCRIPT=tgs_predict.py exec "$(dirname "${BASH_SOURCE[0]}")/train_multi_gpu_ring.sh" "$@"
