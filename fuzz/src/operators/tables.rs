//! The instructions that functions are made of: each line has a signature, a prefix unless there is none, and the names that go with both.
//!
//! A signature has a letter for each operand and result: `i`, `l`, `f`, `d` and `v` are the types, `a` an address, which comes first, `t` a
//! timeout. A name may be followed by the number of lanes it has.

use std::sync::LazyLock;

/// Operators of one signature and prefix.
pub struct Family {
    pub prefix: &'static str,
    pub operands: &'static str,
    pub results: &'static str,
    /// Each with how many lanes it has; 0 for those that name none.
    pub names: Vec<(&'static str, u64)>,
}

impl Family {
    /// Whether operands may be such that one of them traps, apart from addresses.
    pub fn may_trap(&self) -> bool {
        let mut names = self.names.iter();
        names.any(|(name, _)| name.starts_with("div_") || name.contains("trunc_f"))
    }
}

fn families(lines: &'static str) -> Vec<Family> {
    let family = |line: &'static str| {
        let mut words = line.split_whitespace().peekable();
        let signature = words.next()?;
        let (operands, results) = signature.split_once('>').expect("a signature");
        let prefix = words.next_if(|word| word.ends_with('.'));
        let name = |word: &'static str| match word.split_once('#') {
            Some((name, lanes)) => (name, lanes.parse().expect("a number")),
            None => (word, 0),
        };
        Some(Family {
            prefix: prefix.unwrap_or_default(),
            operands,
            results,
            names: words.map(name).collect(),
        })
    };
    lines.lines().filter_map(family).collect()
}

/// Of WebAssembly without threads and relaxed SIMD.
pub static OPERATORS: LazyLock<Vec<Family>> = LazyLock::new(|| {
    families(
        "
ii>i    i32.              add sub mul and or xor shl shr_s shr_u rotl rotr eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u
ii>i    i32.              div_s div_u rem_s rem_u
i>i     i32.              clz ctz popcnt eqz extend8_s extend16_s
ll>l    i64.              add sub mul and or xor shl shr_s shr_u rotl rotr
ll>l    i64.              div_s div_u rem_s rem_u
ll>i    i64.              eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u
l>l     i64.              clz ctz popcnt extend8_s extend16_s extend32_s
l>i     i64.              eqz
llll>ll i64.              add128 sub128
ll>ll   i64.              mul_wide_s mul_wide_u
ff>f    f32.              add sub mul div min max copysign
f>f     f32.              abs neg sqrt ceil floor trunc nearest
ff>i    f32.              eq ne lt gt le ge
dd>d    f64.              add sub mul div min max copysign
d>d     f64.              abs neg sqrt ceil floor trunc nearest
dd>i    f64.              eq ne lt gt le ge
l>i     i32.              wrap_i64
i>l     i64.              extend_i32_s extend_i32_u
f>i     i32.              trunc_sat_f32_s trunc_sat_f32_u trunc_f32_s trunc_f32_u reinterpret_f32
d>i     i32.              trunc_sat_f64_s trunc_sat_f64_u trunc_f64_s trunc_f64_u
f>l     i64.              trunc_sat_f32_s trunc_sat_f32_u trunc_f32_s trunc_f32_u
d>l     i64.              trunc_sat_f64_s trunc_sat_f64_u trunc_f64_s trunc_f64_u reinterpret_f64
i>f     f32.              convert_i32_s convert_i32_u reinterpret_i32
l>f     f32.              convert_i64_s convert_i64_u
d>f     f32.              demote_f64
i>d     f64.              convert_i32_s convert_i32_u
l>d     f64.              convert_i64_s convert_i64_u reinterpret_i64
f>d     f64.              promote_f32
iii>i                     select
lli>l                     select
ffi>f                     select
ddi>d                     select
vvi>v                     select
vv>v    v128.             and or xor andnot
v>v     v128.             not
vvv>v   v128.             bitselect
v>i     v128.             any_true
vv>v    i8x16.            add sub add_sat_s add_sat_u sub_sat_s sub_sat_u min_s min_u max_s max_u avgr_u eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u swizzle narrow_i16x8_s narrow_i16x8_u
v>v     i8x16.            abs neg popcnt
vv>v    i16x8.            add sub mul add_sat_s add_sat_u sub_sat_s sub_sat_u min_s min_u max_s max_u avgr_u eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u narrow_i32x4_s narrow_i32x4_u q15mulr_sat_s extmul_low_i8x16_s extmul_high_i8x16_s extmul_low_i8x16_u extmul_high_i8x16_u
v>v     i16x8.            abs neg extadd_pairwise_i8x16_s extadd_pairwise_i8x16_u extend_low_i8x16_s extend_high_i8x16_s extend_low_i8x16_u extend_high_i8x16_u
vv>v    i32x4.            add sub mul min_s min_u max_s max_u eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u dot_i16x8_s extmul_low_i16x8_s extmul_high_i16x8_s extmul_low_i16x8_u extmul_high_i16x8_u
v>v     i32x4.            abs neg extadd_pairwise_i16x8_s extadd_pairwise_i16x8_u extend_low_i16x8_s extend_high_i16x8_s extend_low_i16x8_u extend_high_i16x8_u trunc_sat_f32x4_s trunc_sat_f32x4_u trunc_sat_f64x2_s_zero trunc_sat_f64x2_u_zero
vv>v    i64x2.            add sub mul eq ne lt_s gt_s le_s ge_s extmul_low_i32x4_s extmul_high_i32x4_s extmul_low_i32x4_u extmul_high_i32x4_u
v>v     i64x2.            abs neg extend_low_i32x4_s extend_high_i32x4_s extend_low_i32x4_u extend_high_i32x4_u
vv>v    f32x4.            add sub mul div min max pmin pmax eq ne lt gt le ge
v>v     f32x4.            abs neg sqrt ceil floor trunc nearest convert_i32x4_s convert_i32x4_u demote_f64x2_zero
vv>v    f64x2.            add sub mul div min max pmin pmax eq ne lt gt le ge
v>v     f64x2.            abs neg sqrt ceil floor trunc nearest convert_low_i32x4_s convert_low_i32x4_u promote_low_f32x4
vi>v    i8x16.            shl shr_s shr_u
vi>v    i16x8.            shl shr_s shr_u
vi>v    i32x4.            shl shr_s shr_u
vi>v    i64x2.            shl shr_s shr_u
v>i     i8x16.            all_true bitmask extract_lane_s#16 extract_lane_u#16
v>i     i16x8.            all_true bitmask extract_lane_s#8 extract_lane_u#8
v>i     i32x4.            all_true bitmask extract_lane#4
v>i     i64x2.            all_true bitmask
v>l     i64x2.            extract_lane#2
v>f     f32x4.            extract_lane#4
v>d     f64x2.            extract_lane#2
i>v     i8x16.            splat
i>v     i16x8.            splat
i>v     i32x4.            splat
l>v     i64x2.            splat
f>v     f32x4.            splat
d>v     f64x2.            splat
vi>v    i8x16.            replace_lane#16
vi>v    i16x8.            replace_lane#8
vi>v    i32x4.            replace_lane#4
vl>v    i64x2.            replace_lane#2
vf>v    f32x4.            replace_lane#4
vd>v    f64x2.            replace_lane#2
vv>v    i8x16.            shuffle
a>i     i32.              load load8_s load8_u load16_s load16_u
a>l     i64.              load load8_s load8_u load16_s load16_u load32_s load32_u
a>f     f32.              load
a>d     f64.              load
a>v     v128.             load load8x8_s load8x8_u load16x4_s load16x4_u load32x2_s load32x2_u load8_splat load16_splat load32_splat load64_splat load32_zero load64_zero
av>v    v128.             load8_lane#16 load16_lane#8 load32_lane#4 load64_lane#2
ai>     i32.              store store8 store16
al>     i64.              store store8 store16 store32
af>     f32.              store
ad>     f64.              store
av>     v128.             store store8_lane#16 store16_lane#8 store32_lane#4 store64_lane#2
",
    )
});

/// Of the threads proposal, on a memory that is not shared. Not every engine has them.
pub static ATOMIC: LazyLock<Vec<Family>> = LazyLock::new(|| {
    families(
        "
a>i     i32.atomic.       load load8_u load16_u
a>l     i64.atomic.       load load8_u load16_u load32_u
ai>     i32.atomic.       store store8 store16
al>     i64.atomic.       store store8 store16 store32
ai>i    i32.atomic.rmw.   add sub and or xor xchg
ai>i    i32.atomic.rmw8.  add_u sub_u and_u or_u xor_u xchg_u
ai>i    i32.atomic.rmw16. add_u sub_u and_u or_u xor_u xchg_u
al>l    i64.atomic.rmw.   add sub and or xor xchg
al>l    i64.atomic.rmw8.  add_u sub_u and_u or_u xor_u xchg_u
al>l    i64.atomic.rmw16. add_u sub_u and_u or_u xor_u xchg_u
al>l    i64.atomic.rmw32. add_u sub_u and_u or_u xor_u xchg_u
aii>i   i32.atomic.       rmw.cmpxchg rmw8.cmpxchg_u rmw16.cmpxchg_u
all>l   i64.atomic.       rmw.cmpxchg rmw8.cmpxchg_u rmw16.cmpxchg_u rmw32.cmpxchg_u
ai>i    memory.atomic.    notify
",
    )
});

/// On a memory that is shared; nobody else can notify, so no wait is longer than its timeout.
pub static WAITING: LazyLock<Vec<Family>> = LazyLock::new(|| {
    families(
        "
ait>i   memory.atomic.    wait32
alt>i   memory.atomic.    wait64
ai>i    memory.atomic.    notify
",
    )
});

/// Of relaxed SIMD, whose results depend on the processor; engines whose code is from the same generator agree on one.
pub static RELAXED: LazyLock<Vec<Family>> = LazyLock::new(|| {
    families(
        "
vv>v    i8x16.            relaxed_swizzle
vvv>v   i8x16.            relaxed_laneselect
vv>v    i16x8.            relaxed_q15mulr_s relaxed_dot_i8x16_i7x16_s
vvv>v   i16x8.            relaxed_laneselect
v>v     i32x4.            relaxed_trunc_f32x4_s relaxed_trunc_f32x4_u relaxed_trunc_f64x2_s_zero relaxed_trunc_f64x2_u_zero
vvv>v   i32x4.            relaxed_laneselect relaxed_dot_i8x16_i7x16_add_s
vvv>v   i64x2.            relaxed_laneselect
vv>v    f32x4.            relaxed_min relaxed_max
vvv>v   f32x4.            relaxed_madd relaxed_nmadd
vv>v    f64x2.            relaxed_min relaxed_max
vvv>v   f64x2.            relaxed_madd relaxed_nmadd
",
    )
});
