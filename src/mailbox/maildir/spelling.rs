//! Encodes the names of folders as mail servers write them on the disk: in the modified UTF-7 of IMAP (RFC 3501 section
//! 5.1.3), as Dovecot and Courier do. It does not decode such names.

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;

/// Base64 with a comma instead of the slash, which separates folders.
static BASE64: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,");
    specification.encoding().unwrap_or(data_encoding::BASE64_NOPAD)
});

/// Returns the name on the disk. A plain ASCII name stays as it is, except for `&`.
#[must_use]
pub fn on_disk(name: &str) -> String {
    let mut spelled = String::with_capacity(name.len());
    let mut beyond = Vec::new();
    for c in name.chars() {
        if !(' '..='~').contains(&c) {
            let mut units = [0; 2];
            beyond.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
            continue;
        }
        end(&mut beyond, &mut spelled);
        spelled.push(c);
        if c == '&' {
            spelled.push('-');
        }
    }
    end(&mut beyond, &mut spelled);
    spelled
}

fn end(beyond: &mut Vec<u8>, spelled: &mut String) {
    if !beyond.is_empty() {
        *spelled += &format!("&{}-", BASE64.encode(beyond));
        beyond.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_servers_do() {
        for (name, spelled) in [
            ("Junk", "Junk"),
            ("Gelöschte Elemente", "Gel&APY-schte Elemente"),
            ("Q&A/2026", "Q&-A/2026"),
            // The example of the RFC.
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("📬", "&2D3c7A-"),
        ] {
            assert_eq!(on_disk(name), spelled);
        }
    }
}
