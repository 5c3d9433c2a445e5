//! Values of the test format as the engine's words: one 64-bit word each, two for a v128.
//!
//! A host's external reference is its number plus one, because the word 0 is null; `ref.host` is what becomes of it as an
//! internal reference.

use dormouse::layout::{I31_BIT, internalize};
use wast::core::{NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// The words of a call's arguments.
pub fn arguments(arguments: &[WastArg<'_>]) -> Result<Vec<u64>, String> {
    let mut words = Vec::new();
    for argument in arguments {
        let WastArg::Core(value) = argument else {
            return Err(format!("the argument {argument:?} is not supported"));
        };
        match value {
            WastArgCore::I32(value) => words.push(u64::from(*value as u32)),
            WastArgCore::I64(value) => words.push(*value as u64),
            WastArgCore::F32(value) => words.push(value.bits.into()),
            WastArgCore::F64(value) => words.push(value.bits),
            WastArgCore::V128(value) => words.extend(v128_words(value.to_le_bytes())),
            WastArgCore::RefNull(_) => words.push(0),
            WastArgCore::RefExtern(number) => words.push(u64::from(*number) + 1),
            WastArgCore::RefHost(number) => words.push(internalize(u64::from(*number) + 1)),
        }
    }
    Ok(words)
}

fn v128_words(bytes: [u8; 16]) -> [u64; 2] {
    let value = u128::from_le_bytes(bytes);
    [value as u64, (value >> 64) as u64]
}

/// Whether the words are what the results say, all of them.
pub fn match_results(results: &[WastRet<'_>], words: &[u64]) -> bool {
    let mut rest = words;
    results.iter().all(|result| match result {
        WastRet::Core(result) => take(result, &mut rest),
        _ => false,
    }) && rest.is_empty()
}

/// Matches one result against the words it takes from the front.
fn take(result: &WastRetCore<'_>, words: &mut &[u64]) -> bool {
    let count = match result {
        WastRetCore::V128(_) => 2,
        WastRetCore::Either(cases) => match cases.first() {
            Some(WastRetCore::V128(_)) => 2,
            _ => 1,
        },
        _ => 1,
    };
    let Some((taken, rest)) = words.split_at_checked(count) else {
        return false;
    };
    *words = rest;
    matches(result, taken)
}

fn matches(result: &WastRetCore<'_>, words: &[u64]) -> bool {
    let word = words[0];
    match result {
        WastRetCore::I32(value) => *value as u32 == word as u32,
        WastRetCore::I64(value) => *value as u64 == word,
        WastRetCore::F32(pattern) => matches_f32(pattern, word as u32),
        WastRetCore::F64(pattern) => matches_f64(pattern, word),
        WastRetCore::V128(pattern) => words.len() == 2 && matches_v128(pattern, words),
        WastRetCore::RefNull(_) => word == 0,
        WastRetCore::RefExtern(Some(number)) => word == u64::from(*number) + 1,
        WastRetCore::RefHost(number) => word == internalize(u64::from(*number) + 1),
        WastRetCore::RefI31 => word & I31_BIT != 0,
        WastRetCore::RefStruct | WastRetCore::RefArray => word != 0 && word.is_multiple_of(8),
        WastRetCore::RefEq => word & I31_BIT != 0 || word != 0 && word.is_multiple_of(8),
        WastRetCore::RefAny => word != 0,
        WastRetCore::RefExtern(None) | WastRetCore::RefFunc(None) => word != 0,
        WastRetCore::Either(cases) => cases.iter().any(|case| matches(case, words)),
        _ => false,
    }
}

fn matches_f32(pattern: &NanPattern<F32>, bits: u32) -> bool {
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(value) => value.bits == bits,
    }
}

fn matches_f64(pattern: &NanPattern<F64>, bits: u64) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    match pattern {
        NanPattern::CanonicalNan => bits & (u64::MAX >> 1) == QUIET,
        NanPattern::ArithmeticNan => bits & QUIET == QUIET,
        NanPattern::Value(value) => value.bits == bits,
    }
}

fn matches_v128(pattern: &V128Pattern, words: &[u64]) -> bool {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_le_bytes());
    bytes[8..].copy_from_slice(&words[1].to_le_bytes());
    match pattern {
        V128Pattern::I8x16(lanes) => lanes.map(|lane| lane as u8) == bytes,
        V128Pattern::I16x8(lanes) => lanes.iter().flat_map(|lane| lane.to_le_bytes()).eq(bytes),
        V128Pattern::I32x4(lanes) => lanes.iter().flat_map(|lane| lane.to_le_bytes()).eq(bytes),
        V128Pattern::I64x2(lanes) => lanes.iter().flat_map(|lane| lane.to_le_bytes()).eq(bytes),
        V128Pattern::F32x4(lanes) => (0..4).all(|lane| {
            let word = words[lane / 2] >> (lane % 2 * 32);
            matches_f32(&lanes[lane], word as u32)
        }),
        V128Pattern::F64x2(lanes) => (0..2).all(|lane| matches_f64(&lanes[lane], words[lane])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signalling_nan_is_neither_canonical_nor_arithmetic() {
        assert!(matches_f32(&NanPattern::CanonicalNan, 0xffc0_0000));
        assert!(!matches_f32(&NanPattern::CanonicalNan, 0x7fc0_0001));
        assert!(matches_f32(&NanPattern::ArithmeticNan, 0x7fc0_0001));
        assert!(!matches_f32(&NanPattern::ArithmeticNan, 0x7fa0_0000));
        assert!(!matches_f32(&NanPattern::ArithmeticNan, 0x3f80_0000));
        assert!(!matches_f64(
            &NanPattern::CanonicalNan,
            0x7ff0_0000_0000_0000
        ));
        assert!(!matches_f64(
            &NanPattern::ArithmeticNan,
            0x7ff4_0000_0000_0000
        ));
    }

    #[test]
    fn missing_and_surplus_words_do_not_match() {
        let i32 = |value| WastRet::Core(WastRetCore::I32(value));
        assert!(match_results(&[i32(-1)], &[0xffff_ffff]));
        assert!(!match_results(&[i32(-1)], &[]));
        assert!(!match_results(&[i32(-1)], &[0xffff_ffff, 0]));
        let v128 = WastRet::Core(WastRetCore::V128(V128Pattern::I32x4([1, 2, 3, 4])));
        assert!(match_results(&[v128], &[1 | 2 << 32, 3 | 4 << 32]));
        let v128 = WastRet::Core(WastRetCore::V128(V128Pattern::I32x4([1, 2, 3, 4])));
        assert!(!match_results(&[v128], &[1 | 2 << 32]));
    }
}
