"""Dielectric reflection: the GGX lobe of Blender's Principled surface, for the spot light and for the sky.

Walter et al., "Microfacet Models for Refraction through Rough Surfaces", EGSR 2007; Schlick's Fresnel term.
"""

from __future__ import annotations

import math

import numpy as np

from equissl.renderers.lighting import Vector, dot

_TINY = np.float32(1e-6)


def normal_reflectance(specular: np.ndarray) -> np.ndarray:
    """Return the f0 of the importer's specular strength: 0.08 at full strength."""
    return 0.08 * specular


def schlick(f0: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Compute Schlick's approximation of the Fresnel reflectance.

    Args:
        f0: reflectance at normal incidence.
        cosine: between direction and half vector.
    """
    away = np.clip(1.0 - cosine, 0.0, 1.0)
    square = away * away
    return f0 + (1.0 - f0) * (square * square * away)


def albedo(f0: np.ndarray, roughness: np.ndarray, cos_view: np.ndarray) -> np.ndarray:
    """Compute the share of uniform light that the lobe reflects (Karis, "Physically Based Shading on Mobile", 2014).

    Args:
        f0: reflectance at normal incidence.
        roughness: roughness of the surface.
        cos_view: between normal and viewer.
    """
    x = 1.0 - roughness
    scale = np.minimum(x * x, np.exp2(-9.28 * cos_view)) * x + (0.0425 - 0.0275 * roughness)
    a = -1.04 * scale + (1.04 - 0.572 * roughness)
    b = 1.04 * scale + (0.022 * roughness - 0.04)
    return np.where(f0 > 0, f0 * a + np.maximum(b, 0.0), 0.0)


def lobe(normal: Vector, viewer: Vector, light: Vector, f0: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Compute the reflected radiance per irradiance, D·F·G / (4 cos cos), for unit vectors.

    Args:
        normal: normal of the surface.
        viewer: direction to it.
        light: direction to it.
        f0: reflectance at normal incidence.
        alpha: width of the lobe.
    """
    half = tuple(viewer[i] + light[i] for i in range(3))
    inverse = 1.0 / np.sqrt(np.maximum(dot(half, half), _TINY))
    n_h, v_h = dot(normal, half) * inverse, dot(viewer, half) * inverse
    n_l, n_v = np.maximum(dot(normal, light), _TINY), np.maximum(dot(normal, viewer), _TINY)
    square = alpha * alpha
    narrow = n_h * n_h * (square - 1.0) + 1.0
    visible = n_l * np.sqrt(n_v * n_v * (1 - square) + square) + n_v * np.sqrt(n_l * n_l * (1 - square) + square)
    return schlick(f0, v_h) * square * (0.5 / math.pi) / (narrow * narrow * np.maximum(visible, _TINY))


def sample_lobe(
    uniform: np.ndarray, viewer: np.ndarray, f0: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw directions from the visible part of the lobe, with their weights.

    Dupuy & Benyoub, "Sampling Visible GGX Normals with Spherical Caps", 2023.

    Args:
        uniform: (2, n) in [0, 1).
        viewer: (3, n) unit, with the normal along +z.
        f0, alpha: (n,).

    Returns:
        (3, n) unit directions and (n,) weights: mean of weight × radiance is the reflected radiance.
    """
    stretched = np.stack([viewer[0] * alpha, viewer[1] * alpha, viewer[2]])
    stretched /= np.sqrt(np.maximum(dot(stretched, stretched), _TINY))
    angle = 2 * math.pi * uniform[0]
    z = (1.0 - uniform[1]) * (1.0 + stretched[2]) - stretched[2]
    ring = np.sqrt(np.clip(1.0 - z * z, 0.0, 1.0))
    half = np.stack([ring * np.cos(angle), ring * np.sin(angle), z]) + stretched
    half[:2] *= alpha
    half /= np.sqrt(np.maximum(dot(half, half), _TINY))
    v_h = dot(viewer, half)
    light = 2.0 * v_h * half - viewer
    square = alpha * alpha
    n_l, n_v = light[2], np.maximum(viewer[2], _TINY)
    toward_light = np.sqrt(square + (1 - square) * n_l * n_l)
    toward_viewer = np.sqrt(square + (1 - square) * n_v * n_v)
    # G2 / G1 of the height-correlated Smith term
    weight = n_l * (n_v + toward_viewer) / np.maximum(n_v * toward_light + n_l * toward_viewer, _TINY)
    return light, np.where(n_l > 0, weight, 0.0) * schlick(f0, v_h)
