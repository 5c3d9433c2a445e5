//! Parameters and results of an invoked function as text.

use dormouse::compile::info::ValueType;
use std::ffi::OsString;
use std::str::FromStr;

/// The words of the parameters, one argument each.
pub fn parse(types: &[ValueType], arguments: &[OsString]) -> Result<Vec<u64>, String> {
    if types.len() != arguments.len() {
        return Err(format!(
            "it takes {} arguments, {} are given",
            types.len(),
            arguments.len()
        ));
    }
    let mut words = Vec::new();
    for (ty, argument) in types.iter().zip(arguments) {
        let text = argument
            .to_str()
            .ok_or_else(|| format!("{argument:?} is not a number"))?;
        let wrong = || format!("{text:?} is not an {ty}");
        words.push(match ty {
            ValueType::I32 => integer(text, 32).ok_or_else(wrong)?,
            ValueType::I64 => integer(text, 64).ok_or_else(wrong)?,
            ValueType::F32 => u64::from(f32::from_str(text).map_err(|_| wrong())?.to_bits()),
            ValueType::F64 => f64::from_str(text).map_err(|_| wrong())?.to_bits(),
            ValueType::V128 | ValueType::Reference(_) => {
                return Err(format!(
                    "an argument of type {ty} cannot be given on the command line"
                ));
            }
        });
    }
    Ok(words)
}

/// An integer of so many bits, signed or unsigned, decimal or with `0x`, as an unsigned word.
fn integer(text: &str, bits: u32) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    // Rust's parsing would take a second sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -magnitude } else { magnitude };
    let range = -(1i128 << (bits - 1))..1i128 << bits;
    range
        .contains(&value)
        .then_some(value as u64 & (u64::MAX >> (64 - bits)))
}

/// The results, one text each.
pub fn print(types: &[ValueType], words: &[u64]) -> Vec<String> {
    let mut words = words.iter().copied();
    let mut next = || words.next().unwrap_or(0);
    types
        .iter()
        .map(|ty| match ty {
            ValueType::I32 => (next() as i32).to_string(),
            ValueType::I64 => (next() as i64).to_string(),
            ValueType::F32 => f32::from_bits(next() as u32).to_string(),
            ValueType::F64 => f64::from_bits(next()).to_string(),
            ValueType::V128 => {
                let (low, high) = (next(), next());
                format!("0x{high:016x}{low:016x}")
            }
            ValueType::Reference(_) => match next() {
                0 => "null".into(),
                _ => ty.to_string(),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ValueType::{F32, F64, I32, I64, V128};

    fn check(ty: ValueType, text: &str, word: Option<u64>) {
        assert_eq!(
            parse(&[ty], &[text.into()]).ok(),
            word.map(|word| vec![word]),
            "{ty} {text}"
        );
    }

    #[test]
    fn arguments_are_numbers_of_their_type() {
        check(I32, "-1", Some(0xffff_ffff));
        check(I32, "4294967295", Some(0xffff_ffff));
        check(I32, "0x80000000", Some(0x8000_0000));
        check(I32, "-0x80000000", Some(0x8000_0000));
        check(I64, "-1", Some(u64::MAX));
        check(I64, "18446744073709551615", Some(u64::MAX));
        check(F32, "1.5", Some(0x3fc0_0000));
        check(F64, "-inf", Some(f64::NEG_INFINITY.to_bits()));
        for (ty, text) in [
            (I32, "4294967296"),
            (I32, "-2147483649"),
            (I32, ""),
            (I32, "--1"),
            (I32, "+-1"),
            (I32, "0x+1"),
            (I32, "1.0"),
            (I64, "18446744073709551616"),
            (F32, "one"),
            (V128, "0"),
            (ValueType::EXTERNREF, "null"),
        ] {
            check(ty, text, None);
        }
        assert!(parse(&[I32], &[]).is_err());
        assert!(parse(&[], &["1".into()]).is_err());
    }

    #[test]
    fn results_are_told_by_their_type() {
        let types = [I32, I64, F32, F64, V128, ValueType::EXTERNREF];
        let words = [0xffff_ffff, 1 << 63, 0x3fc0_0000, 0, 1, 2, 0];
        let v128 = "0x00000000000000020000000000000001";
        assert_eq!(
            print(&types, &words),
            ["-1", "-9223372036854775808", "1.5", "0", v128, "null"]
        );
    }
}
