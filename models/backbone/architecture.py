"""Builds the network from the sam2 package's own modules, in the shape a config gives."""

from __future__ import annotations

from typing import cast

from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base

from models.config import BackboneConfig


def build_sam2(config: BackboneConfig, kind: type[SAM2Base] = SAM2Base) -> SAM2Base:
    """SAM2Base with random weights; the state dict's keys are those of official checkpoints.

    Follows sam2.1_hiera_*.yaml of facebookresearch/sam2 at 2b90b9f; only sizes differ.
    kind: a subclass to build instead, as the package's own video predictor
    """
    network = kind(
        image_encoder=_image_encoder(config),
        memory_attention=_memory_attention(config),
        memory_encoder=_memory_encoder(config),
        num_maskmem=config.memories,
        image_size=config.image_size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=config.multimask,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=config.multimask,
        use_multimask_token_for_obj_ptr=config.multimask,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
    )
    return cast(SAM2Base, network)


def _image_encoder(config: BackboneConfig) -> ImageEncoder:
    channels = [config.embed_dim * 2**stage for stage in (3, 2, 1, 0)]
    return ImageEncoder(
        scalp=1,
        trunk=Hiera(
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            stages=config.stages,
            global_att_blocks=config.global_blocks,
            window_spec=config.window_spec,
            window_pos_embed_bkg_spatial_size=config.background_size,
        ),
        neck=FpnNeck(
            position_encoding=PositionEmbeddingSine(config.model_width),
            d_model=config.model_width,
            backbone_channel_list=channels,
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        ),
    )


def _memory_attention(config: BackboneConfig) -> MemoryAttention:
    width, grid = config.model_width, config.grid

    def rope(**keys: int | bool) -> RoPEAttention:
        return RoPEAttention(
            rope_theta=10000.0,
            feat_sizes=[grid, grid],
            embedding_dim=width,
            num_heads=1,
            downsample_rate=1,
            dropout=config.dropout,
            **keys,
        )

    layer = MemoryAttentionLayer(
        activation="relu",
        dim_feedforward=config.feedforward,
        dropout=config.dropout,
        pos_enc_at_attn=False,
        self_attention=rope(),
        d_model=width,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        cross_attention=rope(rope_k_repeat=True, kv_in_dim=config.memory_width),
    )
    return MemoryAttention(
        d_model=width, pos_enc_at_input=True, layer=layer, num_layers=config.attention_layers
    )


def _memory_encoder(config: BackboneConfig) -> MemoryEncoder:
    width = config.model_width
    block = CXBlock(
        dim=width,
        kernel_size=7,
        padding=3,
        layer_scale_init_value=config.layer_scale,
        use_dwconv=True,
    )
    return MemoryEncoder(
        in_dim=width,
        out_dim=config.memory_width,
        position_encoding=PositionEmbeddingSine(config.memory_width),
        mask_downsampler=MaskDownSampler(embed_dim=width, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(block, num_layers=2),
    )
