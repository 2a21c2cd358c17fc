"""What the wrappers and intrinsics should compute, in numpy, written from NVIDIA's documents only.

Each model takes the input words of a case of conformance/*.cu and returns (expected, tolerance)
pairs in the order of the output; tolerance None means equal bit for bit.
"""

from collections.abc import Callable

import numpy as np

Words = np.ndarray
Expected = list[tuple[np.ndarray, np.ndarray | float | None]]
LANE = np.arange(32)


def floats(words: Words) -> np.ndarray:
    return words.view(np.float32)


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, to nearest even; any NaN becomes 0x7fff."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FFF, rounded).astype(np.uint32)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_f16(x: np.ndarray) -> np.ndarray:
    """float32 to the bits of half; NaN becomes 0x7fff."""
    with np.errstate(over="ignore", invalid="ignore"):
        bits = x.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(x), 0x7FFF, bits).astype(np.uint32)


def from_f16(bits: np.ndarray) -> np.ndarray:
    """Any NaN becomes the GPU's own, 0x7fffffff."""
    wide = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    return np.where(np.isnan(wide), np.uint32(0x7FFFFFFF).view(np.float32), wide)


def to_tf32(words: Words) -> Words:
    wide = words.astype(np.uint64)
    finite = (wide & 0x7F800000) != 0x7F800000
    return np.where(finite, (wide + 0x1000) & 0xFFFFE000, wide & 0xFFFFE000).astype(np.uint32)


# ---- data movement ------------------------------------------------------------------------------


def ldmatrix(matrices: int, transposed: bool) -> Callable[[Words], Expected]:
    def model(words: Words) -> Expected:
        rows = words.view(np.uint16).reshape(32, 8)[(5 * LANE + 3) % 32]
        tiles = rows[: 8 * matrices].reshape(matrices, 8, 8).astype(np.uint32)
        if transposed:
            tiles = tiles.transpose(0, 2, 1)
        low, high = tiles[:, :, 0::2], tiles[:, :, 1::2]  # [matrix][row][pair]
        return [((low | high << 16).reshape(matrices, 32).T.ravel(), None)]

    return model


def cp_async(size: int) -> Callable[[Words], Expected]:
    def model(words: Words) -> Expected:
        tile = (0xABCD0000 + np.arange(256)).astype(np.uint32).reshape(32, 8)
        source = words.reshape(32, 8)[::-1, : size // 4]
        tile[:, : size // 4] = np.where(LANE[:, None] % 2 == 0, source, 0)
        return [(tile.ravel(), None)]

    return model


def load_once(words: Words) -> Expected:
    return [(words.reshape(32, 4).T.ravel(), None)]


def mma(depth: int, convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Words], Expected]:
    """Products are exact in float32; the sum of 9 or 17 terms has float32 roundings."""

    def model(words: Words) -> Expected:
        a, b, c = np.split(floats(words), [16 * depth, 24 * depth])
        wide_a = convert(a).astype(float).reshape(16, depth)
        wide_b = convert(b).astype(float).reshape(8, depth)
        size = np.abs(wide_a) @ np.abs(wide_b).T + np.abs(c.reshape(16, 8))
        exact = wide_a @ wide_b.T + c.reshape(16, 8)
        return [(exact.ravel(), (depth * 2.0**-23 * size).ravel())]

    return model


def mma_tf32_raw(words: Words) -> Expected:
    """The fragments of the PTX manual, element by element; the low 13 bits count for nothing."""
    truncated = (words & 0xFFFFE000).view(np.float32).astype(float)
    fa, fb = truncated[:128].reshape(32, 4), truncated[128:].reshape(32, 2)
    a, b = np.zeros((16, 8)), np.zeros((8, 8))
    for lane in range(32):
        g, t = divmod(lane, 4)
        a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4] = fa[lane]
        b[t, g], b[t + 4, g] = fb[lane]
    d = a @ b
    out = np.array(
        [[d[g, 2 * t], d[g, 2 * t + 1], d[g + 8, 2 * t], d[g + 8, 2 * t + 1]]
         for g, t in (divmod(lane, 4) for lane in range(32))]
    )  # fmt: skip
    return [(out.ravel(), 8 * 2.0**-23 * out.ravel())]


# ---- warps --------------------------------------------------------------------------------------


def shuffle(kind: str) -> Callable[[Words], Expected]:
    def model(words: Words) -> Expected:
        out = np.empty((6, 40, 32), np.uint32)
        for w, operand in np.ndindex(6, 40):
            width, b = 1 << w, operand & 31
            first = LANE // width * width
            if kind == "index":
                source, valid = first + b % width, np.full(32, True)
            elif kind == "up":
                source = LANE - b
                valid = source >= first
            elif kind == "down":
                source = LANE + b
                valid = source < first + width
            else:
                source = LANE ^ b
                valid = source < first + width
            out[w, operand] = words[np.where(valid, source, LANE)]
        return [(out.ravel(), None)]

    return model


def shuffle_types(words: Words) -> Expected:
    picked = words[(7 * LANE + 1) % 32]
    return [(np.concatenate([~picked, picked, picked & 0x7BFF]), None)]


def _set(lanes: np.ndarray) -> int:
    return sum(1 << int(lane) for lane in lanes)


def vote(words: Words) -> Expected:
    value = words % 3
    out = np.zeros((6, 32), np.uint32)
    for parity in (0, 1):
        group = LANE[parity::2]
        matched = value if parity else np.full(32, 5)
        out[0, group] = _set(group[value[group] != 0])
        out[1, group] = bool((value[group] == 2).any()) and parity == 1
        out[2, group] = bool((value[group] < 3 - parity).all())
        for lane in group:
            out[3, lane] = _set(group[value[group] == value[lane]])
        same = len(set(matched[group].tolist())) == 1
        out[4, group], out[5, group] = _set(group) if same else 0, same
    return [(out.ravel(), None)]


def reduce(words: Words) -> Expected:
    out = np.empty((9, 32), np.uint32)
    for group in (LANE[:12], LANE[12:]):
        v = words[group]
        s = v.view(np.int32)
        results = [
            v.sum(dtype=np.uint32),
            s.sum(dtype=np.int32),
            v.min(),
            s.min(),
            v.max(),
            s.max(),
        ]
        results += [np.bitwise_and.reduce(v | 0xFF000000), np.bitwise_or.reduce(v & 0x00FF00FF)]
        results += [np.bitwise_xor.reduce(v)]
        for i, result in enumerate(results):
            out[i, group] = np.array(result).astype(np.int64) & 0xFFFFFFFF
    return [(out.ravel(), None)]


def block_vote(words: Words) -> Expected:
    odd = words % 2
    rounds = [(odd.sum(), odd.all(), odd.any()), (96, 1, 1)]
    return [(np.repeat(np.array(rounds, np.uint32).ravel(), 96), None)]


def atomic(words: Words) -> Expected:
    out = []
    for i, (m, v, compare) in enumerate(words.reshape(16, 3).tolist()):
        new = [m + v, m - v, min(m, v), max(m, v), m & v, m | v, m ^ v, v]
        new += [0 if m >= v else m + 1, v if m == 0 or m > v else m - 1]
        new += [v if i % 2 or m == compare else m]
        out += [word for n in new for word in (m, n & 0xFFFFFFFF)]
    return [(np.array(out, np.uint32), None)]


def bits(words: Words) -> Expected:
    def signed(x: int, width: int = 32) -> int:
        return x - (1 << width) if x >> (width - 1) & 1 else x

    out = np.empty((10, 64), np.uint32)
    for i in range(64):
        a, b = int(words[2 * i]) >> (i % 32), int(words[2 * i + 1])
        text = f"{a:032b}"
        pair = [(b << 32 | a) >> (8 * j) & 0xFF for j in range(8)]
        perm = 0
        for j in range(4):
            pick = (b >> 7) >> (4 * j) & 15
            byte = pair[pick & 7]
            perm |= (
                (255 if byte & 128 else 0 if pick & 8 else byte) << (8 * j)
                if pick & 8
                else (byte << (8 * j))
            )
        dot = i + sum(signed(a >> 8 * j & 255, 8) * signed(b >> 8 * j & 255, 8) for j in range(4))
        row = [
            text.count("1"),
            32 - a.bit_length(),
            (a & -a).bit_length(),
            int(text[::-1], 2),
            perm,
        ]
        row += [a * b >> 32, signed(a) * signed(b) >> 32]
        row += [(b << 32 | a) << (i & 31) >> 32, (b << 32 | a) >> (i & 31), dot]
        out[:, i] = [x & 0xFFFFFFFF for x in row]
    return [(out.ravel(), None)]


MODELS: dict[str, Callable[[Words], Expected]] = {
    **{f"ldmatrix_x{n}": ldmatrix(n, False) for n in (1, 2, 4)},
    **{f"ldmatrix_x{n}_trans": ldmatrix(n, True) for n in (1, 2, 4)},
    **{f"cp_async{n}": cp_async(n) for n in (4, 8, 16)},
    "load_once": load_once,
    "mma_f16": mma(16, lambda x: from_f16(to_f16(x))),
    "mma_bf16": mma(16, lambda x: from_bf16(to_bf16(x))),
    "mma_tf32": mma(8, lambda x: to_tf32(x.view(np.uint32)).view(np.float32)),
    "mma_tf32_raw": mma_tf32_raw,
    "to_tf32": lambda words: [(to_tf32(words), None)],
    **{f"shuffle_{kind}": shuffle(kind) for kind in ("index", "up", "down", "xor")},
    "shuffle_types": shuffle_types,
    "vote": vote,
    "reduce": reduce,
    "block_vote": block_vote,
    "atomic": atomic,
    "bits": bits,
}
