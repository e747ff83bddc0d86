#!/bin/sh
# The same data, trained on by the authors' code and by equissl; docs/authors_check.md explains every step.
#
#   sh docs/authors_check.sh data       # render, write the authors' folders, read them back, compare the bytes
#   sh docs/authors_check.sh theirs     # print the authors' commands; `... theirs | sh -e` runs them, on a GPU
#   sh docs/authors_check.sh ours       # the same trainings here
#   sh docs/authors_check.sh compare    # import the authors' checkpoints, evaluate all, a page for each method
set -eu

SIE=${SIE:-$PWD/SIE}                        # checkouts: github.com/facebookresearch/SIE,
EQUICAPS=${EQUICAPS:-$PWD/EquiCaps}         # github.com/AberdeenML/EquiCaps,
SEQJEPA=${SEQJEPA:-$PWD/seq-jepa/seq-jepa}  # github.com/hafezgh/seq-jepa, its folder of that name; whole paths
OUT=${OUT:-authors_check}
OBJECTS=${OBJECTS:-400} SIZE=${SIZE:-64} EPOCHS=${EPOCHS:-20} BATCH=${BATCH:-64}
ROTATION=${ROTATION:-[1.5708,1.5708,1.5708]}   # up to which angles objects turn about x, y and z; 3DIEBench's

data() {
    # their scripts draw from 50 views of each object, whatever is there
    equissl render --meshes procedural --objects "$OBJECTS" --views 50 --size "$SIZE" \
        --rotation_range "$ROTATION" --val_fraction 0.2 --out "$OUT/views.h5"
    equissl unpack "$OUT/views.h5" "$OUT/views"
    equissl pack "$OUT/views" "$OUT/again.h5"
    cmp "$OUT/views.h5" "$OUT/again.h5" && echo "views.h5 came back whole"
}

theirs() {
    cat <<COMMANDS
mkdir -p $OUT/theirs/sie $OUT/theirs/equicaps $OUT/theirs/logs $OUT/theirs/data
cp $OUT/views/*_images.npy $OUT/views/*_labels.npy $OUT/theirs/data
cd $OUT/theirs

# SIE
python $SIE/main.py --experience SIE --exp-dir sie --root-log-dir logs --epochs $EPOCHS --arch resnet18 --equi 256 --batch-size $BATCH --base-lr 1e-3 --dataset-root $OUT/views --images-file data/train_images.npy --labels-file data/train_labels.npy --sim-coeff 10 --std-coeff 10 --cov-coeff 1 --mlp 2048-2048-2048 --equi-factor 0.45 --hypernetwork linear --resolution $SIZE --no-amp --log-freq-time 0
sed -i.orig '/dataset-root/s/type=Path/type=str/' $SIE/eval_classification.py $SIE/eval_angle_prediction.py
mkdir -p sie_classification sie_rotation
python $SIE/eval_classification.py --weights-file sie/model.pth --dataset-root $OUT/views --exp-dir sie_classification --root-log-dir logs --epochs $EPOCHS --arch resnet18 --batch-size 256 --lr 0.001 --wd 0 --equi-dims 512 --device cuda:0
python $SIE/eval_angle_prediction.py --experience quat --weights-file sie/model.pth --dataset-root $OUT/views --exp-dir sie_rotation --root-log-dir logs --epochs $EPOCHS --arch resnet18 --batch-size 256 --lr 0.001 --wd 0 --equi-dims 512 --device cuda:0 --deep-end

# EquiCaps
python $EQUICAPS/main.py --experience EquiCaps_3x3 --exp-dir equicaps --root-log-dir logs --epochs $EPOCHS --arch resnet18 --batch-size $BATCH --base-lr 0.001 --dataset-root $OUT/views --images-file data/train_images.npy --labels-file data/train_labels.npy --num-workers 8 --sim-coeff 0.1 --equi-factor 5 --std-coeff 10 --cov-coeff 1 --mlp 1111-16-32 --resolution $SIZE --no-amp
mkdir -p equicaps_classification equicaps_rotation
python $EQUICAPS/eval_classification.py --dataset-root $OUT/views --exp-dir equicaps_classification --root-log-dir logs --epochs $EPOCHS --arch resnet18 --batch-size 256 --lr 0.001 --wd 0 --num-workers 8 --experience EquiCaps_3x3 --mlp 1111-16-32 --resolution $SIZE --weights-file equicaps/model.pth
python $EQUICAPS/eval_angle_prediction.py --dataset-root $OUT/views --exp-dir equicaps_rotation --root-log-dir logs --epochs $EPOCHS --arch resnet18 --batch-size 256 --lr 0.001 --wd 0 --num-workers 8 --experience EquiCaps_3x3 --mlp 1111-16-32 --resolution $SIZE --weights-file equicaps/model.pth

# seq-JEPA reads the lists of objects from its own folder, so a copy gets ours
cp -r $SEQJEPA seqjepa_code
mkdir -p seqjepa_code/data/3DIEBench
cp data/*.npy seqjepa_code/data/3DIEBench
python seqjepa_code/src/main_transformed_views.py --method seqjepa --dataset 3diebench --data-root $OUT/views --latent-type rot --seq-len 3 --img-size $SIZE --batch-size $BATCH --epochs $EPOCHS --lr 0.0004 --ema --ema-decay 0.996 --output-folder . --save-freq $EPOCHS
COMMANDS
}

train() {   # RECIPE NAME [FLAGS]
    recipe=$1 name=$2
    shift 2
    equissl pretrain --config "$recipe" --out "$OUT/ours/$name" --data.store "$OUT/views.h5" --data.batch_size "$BATCH" \
        --trainer.max_epochs "$EPOCHS" --trainer.precision 32 --trainer.log_every 1 --trainer.loggers '[csv,tensorboard]' "$@"
}

ours() {
    train 3diebench_sie sie
    train 3diebench_equicaps equicaps --method.image_size "$SIZE"
    train 3diebench_seq_jepa_released seqjepa
    # actions without a shortcut: for their code, too, see docs/authors_check.md
    train 3diebench_sie sie_whitened --method.whiten_actions true --method.predictor_options '{"init": "scaled"}'
}

score() {   # RUN
    equissl evaluate "$1" --classification.epochs "$EPOCHS" --rotation.epochs "$EPOCHS"
}

compare() {
    equissl import sie "$OUT/theirs/sie/model.pth" --out "$OUT/imported/sie" --store "$OUT/views.h5"
    equissl import equicaps "$OUT/theirs/equicaps/model.pth" --out "$OUT/imported/equicaps" --store "$OUT/views.h5"
    equissl import seqjepa "$OUT/theirs/seqjepa-3diebench/ckpt_wandb-no-id_epoch_$EPOCHS.pth" --dataset 3diebench --out "$OUT/imported/seqjepa" --store "$OUT/views.h5"
    for name in sie equicaps seqjepa; do
        score "$OUT/imported/$name"
        score "$OUT/ours/$name"
        equissl report "$OUT/imported/$name" "$OUT/ours/$name" --out "$OUT/$name.html"
    done
}

case ${1:-} in
    data | theirs | ours | compare)
        mkdir -p "$OUT"
        OUT=$(cd "$OUT" && pwd)
        "$1"
        ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;;
esac
