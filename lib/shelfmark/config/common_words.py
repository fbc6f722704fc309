"""Words that users of PyTorch, timm, fastai and Keras know an option by: one table, for keys and flags alike."""

from __future__ import annotations

from collections.abc import Iterable

_TARGETS: dict[str, str] = {
    # option, or options, that is meant: the words for it
    "name": "experiment exp exp_name experiment_name run run_name run_id",
    "seed": "random_seed random_state rng_seed manual_seed",
    "data.root": "data root data_dir data_root data_path dataset dataset_dir dataset_root image_dir img_dir images",
    "data.train_json": "train_dir train_data train_file train_annotations annotations labels csv",
    "data.val_json": "val valid validation val_dir val_data val_file val_split valid_pct val_annotations",
    "data.test_json": "test test_dir test_data test_file",
    "data.retrieval_json": "gallery query queries retrieval",
    "data.num_classes": "classes nb_classes n_classes num_class n_class",
    "data.input_size_px": "size img_size image_size imgsz imgs input_size input_shape image_shape resolution res px",
    "data.eval_crop": "crop_pct crop_percent test_crop",
    "data.eval_resize_px": "val_resize_size val_resize test_size",
    "data.num_workers": "workers n_workers nw j dataloader_num_workers num_proc threads num_threads loader_workers",
    "data.mean": "normalize_mean img_mean image_mean",
    "data.std": "normalize_std img_std image_std",
    "augment.resize_px": "resize resize_size train_resize",
    "augment.crop_scale": "scale scale_range min_scale",
    "augment.crop_ratio": "ratio ratio_range aspect_ratio",
    "augment.crop_padding_px": "padding pad",
    "augment.flip": "hflip horizontal_flip do_flip fliplr random_flip",
    "augment.color_jitter": "jitter colour_jitter brightness contrast saturation hue",
    "augment.randaugment": "aa auto_augment autoaugment rand_augment trivial_augment aug augmentation augmentations",
    "augment.erasing": "reprob random_erasing random_erase random_erase_prob cutout",
    "augment.mixup": "mixup_alpha mix_up",
    "augment.cutmix": "cutmix_alpha",
    "sampling.type": "sampler sampler_type samplers sampling_strategy balanced class_balanced",
    "sampling.images_per_class": "samples_per_class num_instances instances k_per_class m_per_class",
    "model.backbone": "backbone model arch architecture model_name model_type encoder net network backbone_name",
    "model.weights": "pretrained weights initial_checkpoint pretrained_weights pretrained_path init_weights",
    "model.backbone_options": "model_kwargs drop dropout drop_rate drop_path drop_path_rate",
    "model.embedding_dim": "embed_dim emb_dim embedding_size embedding dim feat_dim feature_dim hidden_size out_dim",
    "model.pooling.name": "pool pooling gp global_pool pool_type gem",
    "model.classifier.type": "classifier_type head_type cosine_classifier",
    "model.heads": "head heads projection projector",
    "model.freeze": "frozen freeze_backbone freeze_encoder freeze_layers",
    "model.adapters.rank": "lora lora_rank lora_r",
    "model.adapters.alpha": "lora_alpha",
    "model.sync_bn": "sync_batchnorm sync_batch_norm",
    "model.grad_checkpointing": "gradient_checkpointing activation_checkpointing grad_checkpoint",
    "losses.0.name": "loss loss_name loss_type loss_fn loss_func criterion objective",
    "losses.0.label_smoothing": "label_smoothing smoothing ls",
    "losses.0.margin": "margin m loss_margin",
    "losses.0.temperature": "temperature temp",
    "losses.0.weight": "loss_weight",
    "optim.name": "optim opt optimizer optimiser optimizer_name optim_name",
    "optim.lr": "learning_rate base_lr max_lr lr0 lr_max initial_lr init_lr lrate",
    "optim.weight_decay": "wd l2 l2_reg decay weight_decay_rate",
    "optim.betas": "opt_betas beta1 beta2 adam_beta1 adam_beta2",
    "optim.layer_decay": "llrd layerwise_decay layer_lr_decay",
    "optim.clip_norm": "clip clip_grad grad_clip max_grad_norm gradient_clip_val clip_grad_norm gradient_clipping",
    "optim.schedule.name": "sched scheduler lr_scheduler lr_schedule lr_scheduler_type lr_policy schedule",
    "optim.schedule.warmup_epochs": "warmup warm_up warmup_epoch num_warmup_epochs",
    "optim.schedule.warmup_steps": "num_warmup_steps warmup_iters warmup_updates",
    "optim.schedule.final_factor": "min_lr eta_min final_lr lr_min lrf end_lr",
    "optim.schedule.gamma": "decay_rate lr_gamma lr_decay_rate",
    "optim.schedule.milestones_epochs": "milestones decay_milestones lr_steps lr_milestones decay_epochs step_size",
    "train.num_epochs": "epochs epoch n_epochs num_epoch nb_epochs n_epoch max_epochs max_epoch total_epochs"
    " num_train_epochs",
    "train.steps_per_epoch": "steps_in_epoch iters_per_epoch limit_train_batches batches_per_epoch",
    "train.batch_size": "bs batch batchsize b train_batch_size per_device_train_batch_size images_per_batch minibatch",
    "train.device": "accelerator use_gpu use_cuda no_cuda",
    "train.precision": "amp fp16 bf16 half dtype mixed_precision use_amp amp_dtype fp32 autocast",
    "train.accumulate_steps": "grad_accum grad_accum_steps accumulation_steps gradient_accumulation_steps"
    " accumulate_grad_batches accum_iter accum_steps",
    "train.compile": "torchcompile torch_compile compiled",
    "train.ema": "ema model_ema ema_decay use_ema model_ema_decay",
    "train.log_every_steps": "log_interval print_freq log_every logging_steps log_every_n_steps log_freq",
    "train.checkpoint_every_epochs": "save_every save_freq save_interval save_period checkpoint_interval save_epochs",
    "train.checkpoint_every_steps": "save_steps checkpoint_steps",
    "train.keep_last": "checkpoint_hist save_total_limit keep_checkpoints",
    "eval.every_epochs": "eval_interval val_interval eval_every eval_freq val_freq check_val_every_n_epoch eval_epochs",
    "eval.batch_size": "eval_batch_size val_batch_size test_batch_size validation_batch_size vb eval_bs val_bs"
    " per_device_eval_batch_size",
    "eval.metric": "metric monitor eval_metric metric_for_best_model best_metric metrics",
    "eval.recall_at": "recall_k ks recalls",
    "predict.views": "tta test_time_augmentation num_crops",
    "predict.sizes_px": "tta_sizes multi_scale multiscale test_sizes",
    "output.log_root": "output out output_dir out_dir outdir save_dir save_path log_dir logdir work_dir workdir project"
    " default_root_dir log results",
    "--RESUME_MODEL": "resume resume_from ckpt checkpoint ckpt_path resume_from_checkpoint checkpoint_path load",
    "--config": "cfg config_file config_path yaml yml recipe",
    "--gpu_ids": "gpus gpu_id cuda_visible_devices device_ids",
    "train.device --gpu_ids": "gpu cuda device",
    "--num-gpus": "num_gpu n_gpu n_gpus ngpu ngpus nproc nproc_per_node world_size num_devices devices num_processes",
    "--images": "folder image photos photographs",
}

WORDS: dict[str, tuple[str, ...]] = {
    word: tuple(targets.split()) for targets, words in _TARGETS.items() for word in words.split()
}
"""A word, in lower case with underscores, to the options and flags that it may stand for, the likeliest first."""


def folded(word: str) -> str:
    """A word as `WORDS` has it: `--Batch-Size` is batch_size."""
    return word.lower().lstrip("-").replace("-", "_")


def options_meant(word: str, keys: Iterable[str]) -> list[str]:
    """What a word stands for. An option counts if its group is among `keys`, or itself; a flag always does."""
    known = set(keys)

    def is_known(key: str) -> bool:
        group, _, entry = key.partition(".0.")
        return key.startswith("--") or key in known or (bool(entry) and group in known)

    return [key for key in WORDS.get(folded(word), ()) if is_known(key)]
