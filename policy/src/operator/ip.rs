//! `ip_trunc`: an IP address without its host bits.

use std::any::Any;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::parameters::Parameters;
use super::{BuildError, Operator, OperatorContext, OperatorError, OperatorRef, Rank};
use crate::catalogue::FieldType;

/// Most bits that may stay: with all of them it would be `keep` in disguise, above `hmac` on the lattice.
const MOST_V4: u8 = 31;
const MOST_V6: u8 = 127;

/// Text in, text out (RFC 5952); what is no address becomes null.
#[derive(Debug)]
struct IpTrunc {
    v4: u8,
    v6: u8,
}

pub(super) fn build(parameters: &mut Parameters<'_>) -> Result<OperatorRef, BuildError> {
    let mend = "say how many leading bits stay: `v4 = 24, v6 = 48`; `keep` writes whole addresses";
    let v4 = parameters.integer("v4", 24, MOST_V4, mend)?;
    let v6 = parameters.integer("v6", 48, MOST_V6, mend)?;
    Ok(Arc::new(IpTrunc { v4, v6 }))
}

impl IpTrunc {
    fn truncate(&self, text: &str) -> Option<IpAddr> {
        // An IPv4 client of a dual-stack server is `::ffff:a.b.c.d`: cut as IPv6 it would lose everything or nothing.
        Some(match text.parse::<IpAddr>().ok()?.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(
                ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(self.v4)).unwrap_or(0),
            )),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(
                ip.to_bits() & u128::MAX.checked_shl(128 - u32::from(self.v6)).unwrap_or(0),
            )),
        })
    }
}

impl Operator for IpTrunc {
    fn name(&self) -> &'static str {
        "ip_trunc"
    }

    fn rank(&self) -> Rank {
        Rank::Generalisation
    }

    fn parameters(&self) -> String {
        format!("v4={} v6={}", self.v4, self.v6)
    }

    fn covers(&self, other: &dyn Operator) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.v4 <= other.v4 && self.v6 <= other.v6)
    }

    fn output(&self, input: FieldType) -> Option<DataType> {
        (input == FieldType::String).then_some(DataType::Utf8)
    }

    fn suffix(&self) -> Option<&'static str> {
        None
    }

    fn apply(&self, values: &ArrayRef, _: &OperatorContext<'_>) -> Result<ArrayRef, OperatorError> {
        let values = values.as_string_opt::<i32>().ok_or(OperatorError::WrongType("ip_trunc"))?;
        let mut out = StringBuilder::with_capacity(values.len(), values.len() * 12);
        let mut last: Option<(&str, Option<IpAddr>)> = None;
        for value in values {
            // Rows of one device come together and share its address.
            let ip = match (value, last) {
                (None, _) => None,
                (Some(text), Some((seen, ip))) if seen == text => ip,
                (Some(text), _) => {
                    let ip = self.truncate(text);
                    last = Some((text, ip));
                    ip
                }
            };
            match ip {
                Some(ip) if write!(out, "{ip}").is_ok() => out.append_value(""),
                _ => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{context_keys, operator};
    use super::super::{Parameter, clean::assert_clean};
    use super::*;
    use arrow_array::StringArray;

    fn run(parameters: &[(&str, Parameter)], values: &[Option<&str>]) -> Vec<Option<String>> {
        let keys = context_keys();
        let context = OperatorContext { purpose: "analytics", column: "client_ip", keys: &keys };
        let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let out = operator("ip_trunc", parameters).apply(&values, &context).unwrap();
        assert_clean(&out);
        out.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
    }

    fn one(parameters: &[(&str, Parameter)], value: &str) -> Option<String> {
        run(parameters, &[Some(value)]).remove(0)
    }

    #[test]
    fn reference_vectors() {
        assert_eq!(one(&[], "2001:db8:85a3:8d3:1319:8a2e:370:7348").as_deref(), Some("2001:db8:85a3::"));
        assert_eq!(one(&[], "203.0.113.77").as_deref(), Some("203.0.113.0"));
        assert_eq!(one(&[], "::ffff:203.0.113.77").as_deref(), Some("203.0.113.0"));
        assert_eq!(one(&[], "::FFFF:CB00:714D").as_deref(), Some("203.0.113.0"));
    }

    #[test]
    fn output_is_rfc_5952() {
        let v6 = |bits| [("v6", Parameter::Integer(bits))];
        assert_eq!(one(&v6(64), "2001:0DB8:0000:0000:0001:0000:0000:0001").as_deref(), Some("2001:db8::"));
        assert_eq!(one(&v6(127), "2001:db8:0:1:1:1:1:1").as_deref(), Some("2001:db8:0:1:1:1:1:0"));
        assert_eq!(one(&v6(0), "2001:db8::1").as_deref(), Some("::"));
        assert_eq!(one(&[("v4", Parameter::Integer(0))], "203.0.113.77").as_deref(), Some("0.0.0.0"));
        assert_eq!(one(&[("v4", Parameter::Integer(23))], "203.0.113.77").as_deref(), Some("203.0.112.0"));
    }

    #[test]
    fn what_is_no_address_becomes_null() {
        for text in
            ["", "localhost", "203.0.113", "203.0.113.077", " 203.0.113.7", "203.0.113.7:443", "fe80::1%eth0", "[::1]"]
        {
            assert_eq!(one(&[], text), None, "{text}");
        }
    }

    #[test]
    fn repeats_nulls_and_changes_keep_their_rows() {
        let values =
            [Some("10.1.2.3"), Some("10.1.2.3"), None, Some("x"), Some("x"), Some("10.1.2.3"), Some("10.9.9.9")];
        let cut = Some("10.1.2.0".to_owned());
        assert_eq!(run(&[], &values), [cut.clone(), cut.clone(), None, None, None, cut, Some("10.9.9.0".to_owned())]);
    }

    #[test]
    fn fewer_bits_of_both_kinds_cover() {
        let trunc = |v4, v6| operator("ip_trunc", &[("v4", Parameter::Integer(v4)), ("v6", Parameter::Integer(v6))]);
        assert!(trunc(16, 32).covers(&*trunc(24, 48)));
        assert!(!trunc(24, 48).covers(&*trunc(16, 32)));
        assert!(!trunc(16, 64).covers(&*trunc(24, 48)), "coarser for IPv4, finer for IPv6: not comparable");
        assert!(!trunc(24, 48).covers(&*trunc(16, 64)));
    }

    #[test]
    fn whole_addresses_are_refused() {
        for (name, bits) in [("v4", 32), ("v4", -1), ("v6", 128)] {
            let parameters = [(name.to_owned(), Parameter::Integer(bits))].into();
            assert!(super::super::build("ip_trunc", &parameters).unwrap_err().message.contains(name));
        }
    }
}
