//! The instructions that functions are made of: each line has a prefix, a signature, and names that go with both.
//!
//! A signature has a letter for each operand and result: `i`, `l`, `f`, `d` and `v` are the types, `a` an address, `t` a timeout. A name
//! may be followed by the number of lanes it has.

/// Operators: a prefix, a signature, names.
pub const OPERATORS: &[(&str, &str, &str)] = &[
    (
        "i32.",
        "ii>i",
        "add sub mul and or xor shl shr_s shr_u rotl rotr eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u",
    ),
    ("i32.", "ii>i", "div_s div_u rem_s rem_u"),
    ("i32.", "i>i", "clz ctz popcnt eqz extend8_s extend16_s"),
    (
        "i64.",
        "ll>l",
        "add sub mul and or xor shl shr_s shr_u rotl rotr",
    ),
    ("i64.", "ll>l", "div_s div_u rem_s rem_u"),
    (
        "i64.",
        "ll>i",
        "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u",
    ),
    (
        "i64.",
        "l>l",
        "clz ctz popcnt extend8_s extend16_s extend32_s",
    ),
    ("i64.", "l>i", "eqz"),
    ("i64.", "llll>ll", "add128 sub128"),
    ("i64.", "ll>ll", "mul_wide_s mul_wide_u"),
    ("f32.", "ff>f", "add sub mul div min max copysign"),
    ("f32.", "f>f", "abs neg sqrt ceil floor trunc nearest"),
    ("f32.", "ff>i", "eq ne lt gt le ge"),
    ("f64.", "dd>d", "add sub mul div min max copysign"),
    ("f64.", "d>d", "abs neg sqrt ceil floor trunc nearest"),
    ("f64.", "dd>i", "eq ne lt gt le ge"),
    ("i32.", "l>i", "wrap_i64"),
    ("i64.", "i>l", "extend_i32_s extend_i32_u"),
    (
        "i32.",
        "f>i",
        "trunc_sat_f32_s trunc_sat_f32_u trunc_f32_s trunc_f32_u reinterpret_f32",
    ),
    (
        "i32.",
        "d>i",
        "trunc_sat_f64_s trunc_sat_f64_u trunc_f64_s trunc_f64_u",
    ),
    (
        "i64.",
        "f>l",
        "trunc_sat_f32_s trunc_sat_f32_u trunc_f32_s trunc_f32_u",
    ),
    (
        "i64.",
        "d>l",
        "trunc_sat_f64_s trunc_sat_f64_u trunc_f64_s trunc_f64_u reinterpret_f64",
    ),
    ("f32.", "i>f", "convert_i32_s convert_i32_u reinterpret_i32"),
    ("f32.", "l>f", "convert_i64_s convert_i64_u"),
    ("f32.", "d>f", "demote_f64"),
    ("f64.", "i>d", "convert_i32_s convert_i32_u"),
    ("f64.", "l>d", "convert_i64_s convert_i64_u reinterpret_i64"),
    ("f64.", "f>d", "promote_f32"),
    ("", "iii>i", "select"),
    ("", "lli>l", "select"),
    ("", "ffi>f", "select"),
    ("", "ddi>d", "select"),
    ("", "vvi>v", "select"),
    ("v128.", "vv>v", "and or xor andnot"),
    ("v128.", "v>v", "not"),
    ("v128.", "vvv>v", "bitselect"),
    ("v128.", "v>i", "any_true"),
    (
        "i8x16.",
        "vv>v",
        "add sub add_sat_s add_sat_u sub_sat_s sub_sat_u min_s min_u max_s max_u avgr_u eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u swizzle narrow_i16x8_s narrow_i16x8_u",
    ),
    ("i8x16.", "v>v", "abs neg popcnt"),
    (
        "i16x8.",
        "vv>v",
        "add sub mul add_sat_s add_sat_u sub_sat_s sub_sat_u min_s min_u max_s max_u avgr_u eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u narrow_i32x4_s narrow_i32x4_u q15mulr_sat_s extmul_low_i8x16_s extmul_high_i8x16_s extmul_low_i8x16_u extmul_high_i8x16_u",
    ),
    (
        "i16x8.",
        "v>v",
        "abs neg extadd_pairwise_i8x16_s extadd_pairwise_i8x16_u extend_low_i8x16_s extend_high_i8x16_s extend_low_i8x16_u extend_high_i8x16_u",
    ),
    (
        "i32x4.",
        "vv>v",
        "add sub mul min_s min_u max_s max_u eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u dot_i16x8_s extmul_low_i16x8_s extmul_high_i16x8_s extmul_low_i16x8_u extmul_high_i16x8_u",
    ),
    (
        "i32x4.",
        "v>v",
        "abs neg extadd_pairwise_i16x8_s extadd_pairwise_i16x8_u extend_low_i16x8_s extend_high_i16x8_s extend_low_i16x8_u extend_high_i16x8_u trunc_sat_f32x4_s trunc_sat_f32x4_u trunc_sat_f64x2_s_zero trunc_sat_f64x2_u_zero",
    ),
    (
        "i64x2.",
        "vv>v",
        "add sub mul eq ne lt_s gt_s le_s ge_s extmul_low_i32x4_s extmul_high_i32x4_s extmul_low_i32x4_u extmul_high_i32x4_u",
    ),
    (
        "i64x2.",
        "v>v",
        "abs neg extend_low_i32x4_s extend_high_i32x4_s extend_low_i32x4_u extend_high_i32x4_u",
    ),
    (
        "f32x4.",
        "vv>v",
        "add sub mul div min max pmin pmax eq ne lt gt le ge",
    ),
    (
        "f32x4.",
        "v>v",
        "abs neg sqrt ceil floor trunc nearest convert_i32x4_s convert_i32x4_u demote_f64x2_zero",
    ),
    (
        "f64x2.",
        "vv>v",
        "add sub mul div min max pmin pmax eq ne lt gt le ge",
    ),
    (
        "f64x2.",
        "v>v",
        "abs neg sqrt ceil floor trunc nearest convert_low_i32x4_s convert_low_i32x4_u promote_low_f32x4",
    ),
    ("i8x16.", "vi>v", "shl shr_s shr_u"),
    ("i16x8.", "vi>v", "shl shr_s shr_u"),
    ("i32x4.", "vi>v", "shl shr_s shr_u"),
    ("i64x2.", "vi>v", "shl shr_s shr_u"),
    (
        "i8x16.",
        "v>i",
        "all_true bitmask extract_lane_s#16 extract_lane_u#16",
    ),
    (
        "i16x8.",
        "v>i",
        "all_true bitmask extract_lane_s#8 extract_lane_u#8",
    ),
    ("i32x4.", "v>i", "all_true bitmask extract_lane#4"),
    ("i64x2.", "v>i", "all_true bitmask"),
    ("i64x2.", "v>l", "extract_lane#2"),
    ("f32x4.", "v>f", "extract_lane#4"),
    ("f64x2.", "v>d", "extract_lane#2"),
    ("i8x16.", "i>v", "splat"),
    ("i16x8.", "i>v", "splat"),
    ("i32x4.", "i>v", "splat"),
    ("i64x2.", "l>v", "splat"),
    ("f32x4.", "f>v", "splat"),
    ("f64x2.", "d>v", "splat"),
    ("i8x16.", "vi>v", "replace_lane#16"),
    ("i16x8.", "vi>v", "replace_lane#8"),
    ("i32x4.", "vi>v", "replace_lane#4"),
    ("i64x2.", "vl>v", "replace_lane#2"),
    ("f32x4.", "vf>v", "replace_lane#4"),
    ("f64x2.", "vd>v", "replace_lane#2"),
    ("i8x16.", "vv>v", "shuffle"),
    // The first operand of an access is its address.
    ("i32.", "a>i", "load load8_s load8_u load16_s load16_u"),
    (
        "i64.",
        "a>l",
        "load load8_s load8_u load16_s load16_u load32_s load32_u",
    ),
    ("f32.", "a>f", "load"),
    ("f64.", "a>d", "load"),
    (
        "v128.",
        "a>v",
        "load load8x8_s load8x8_u load16x4_s load16x4_u load32x2_s load32x2_u load8_splat load16_splat load32_splat load64_splat load32_zero load64_zero",
    ),
    (
        "v128.",
        "av>v",
        "load8_lane#16 load16_lane#8 load32_lane#4 load64_lane#2",
    ),
    ("i32.", "ai>", "store store8 store16"),
    ("i64.", "al>", "store store8 store16 store32"),
    ("f32.", "af>", "store"),
    ("f64.", "ad>", "store"),
    (
        "v128.",
        "av>",
        "store store8_lane#16 store16_lane#8 store32_lane#4 store64_lane#2",
    ),
];

/// Of the threads proposal, on a memory that is not shared. Not every engine has them.
pub const ATOMIC: &[(&str, &str, &str)] = &[
    ("i32.atomic.", "a>i", "load load8_u load16_u"),
    ("i64.atomic.", "a>l", "load load8_u load16_u load32_u"),
    ("i32.atomic.", "ai>", "store store8 store16"),
    ("i64.atomic.", "al>", "store store8 store16 store32"),
    ("i32.atomic.rmw.", "ai>i", "add sub and or xor xchg"),
    (
        "i32.atomic.rmw8.",
        "ai>i",
        "add_u sub_u and_u or_u xor_u xchg_u",
    ),
    (
        "i32.atomic.rmw16.",
        "ai>i",
        "add_u sub_u and_u or_u xor_u xchg_u",
    ),
    ("i64.atomic.rmw.", "al>l", "add sub and or xor xchg"),
    (
        "i64.atomic.rmw8.",
        "al>l",
        "add_u sub_u and_u or_u xor_u xchg_u",
    ),
    (
        "i64.atomic.rmw16.",
        "al>l",
        "add_u sub_u and_u or_u xor_u xchg_u",
    ),
    (
        "i64.atomic.rmw32.",
        "al>l",
        "add_u sub_u and_u or_u xor_u xchg_u",
    ),
    (
        "i32.atomic.",
        "aii>i",
        "rmw.cmpxchg rmw8.cmpxchg_u rmw16.cmpxchg_u",
    ),
    (
        "i64.atomic.",
        "all>l",
        "rmw.cmpxchg rmw8.cmpxchg_u rmw16.cmpxchg_u rmw32.cmpxchg_u",
    ),
    ("memory.atomic.", "ai>i", "notify"),
];

/// On a memory that is shared; nobody else can notify, so no wait is longer than its timeout.
pub const WAITING: &[(&str, &str, &str)] = &[
    ("memory.atomic.", "ait>i", "wait32"),
    ("memory.atomic.", "alt>i", "wait64"),
    ("memory.atomic.", "ai>i", "notify"),
];

/// Of relaxed SIMD, whose results depend on the processor; engines whose code is from the same generator agree on one.
pub const RELAXED: &[(&str, &str, &str)] = &[
    ("i8x16.", "vv>v", "relaxed_swizzle"),
    ("i8x16.", "vvv>v", "relaxed_laneselect"),
    (
        "i16x8.",
        "vv>v",
        "relaxed_q15mulr_s relaxed_dot_i8x16_i7x16_s",
    ),
    ("i16x8.", "vvv>v", "relaxed_laneselect"),
    (
        "i32x4.",
        "v>v",
        "relaxed_trunc_f32x4_s relaxed_trunc_f32x4_u relaxed_trunc_f64x2_s_zero relaxed_trunc_f64x2_u_zero",
    ),
    (
        "i32x4.",
        "vvv>v",
        "relaxed_laneselect relaxed_dot_i8x16_i7x16_add_s",
    ),
    ("i64x2.", "vvv>v", "relaxed_laneselect"),
    ("f32x4.", "vv>v", "relaxed_min relaxed_max"),
    ("f32x4.", "vvv>v", "relaxed_madd relaxed_nmadd"),
    ("f64x2.", "vv>v", "relaxed_min relaxed_max"),
    ("f64x2.", "vvv>v", "relaxed_madd relaxed_nmadd"),
];
