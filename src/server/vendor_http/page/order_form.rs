//! Form of an order: parsed into an [`Order`], and shown again as it was written if that fails. Dates are whole days in
//! UTC.

use super::csrf::Fields;
use crate::accounting::order::Order;
use crate::message::address::Address;
use crate::stamp::audience::Audience;
use crate::time::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

/// Longest text of a field that is shown again, in bytes.
const LONGEST: usize = 320;

/// Longest token of Cashu that is shown again, in bytes. A longer one is refused.
const LONGEST_TOKEN: usize = 65_536;

/// Text that is money, and that no `Debug` shows.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Fields of the form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OrderForm {
    /// The token of the visitor's forms.
    pub token: String,
    /// Purchase id: the purchase is made once, however often the form is sent.
    pub purchase: String,
    /// Address of the recipient.
    pub recipient: String,
    /// Whether the stamp contains only a hash of the recipient; any text means yes.
    pub hashed: String,
    /// Address of the sender.
    pub sender: String,
    /// First day on which the stamp is valid.
    pub from: String,
    /// Last day on which it is valid.
    pub until: String,
    pub value: String,
    /// `account`, `voucher`, `provider` or `cashu`; of a vendor for one recipient also `work` or `code`.
    pub pay: String,
    /// A token of Cashu.
    pub ecash: Secret,
    /// The code of a voucher.
    pub voucher: String,
    /// The result of work.
    pub proof: String,
    /// Address to which a code is mailed.
    pub mail: String,
    /// The code that was mailed.
    pub mailed: String,
    /// Whether the visitor wants to change the order; any text means yes.
    pub edit: String,
}

impl Fields for OrderForm {
    fn token(&self) -> &str {
        &self.token
    }
}

/// Error of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// The error as a sentence.
    pub text: String,
}

impl OrderForm {
    /// Parses the order.
    ///
    /// # Errors
    /// The errors of all fields.
    pub fn order(&self) -> Result<(Order, Address), Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut fault = |field, text: String| faults.push(FieldError { field, text });
        let recipient = match Address::parse(self.recipient.trim()) {
            Ok(address) => Some(address),
            Err(_) if self.recipient.trim().is_empty() => {
                fault("recipient", "Whom do you write to? A stamp is for one address.".to_owned());
                None
            }
            Err(error) => {
                fault("recipient", format!("This is not an address: {error}."));
                None
            }
        };
        let sender = match self.sender.trim() {
            "" => None,
            text => match Address::parse(text) {
                Ok(address) => Some(address),
                Err(error) => {
                    fault("sender", format!("This is not an address: {error}."));
                    None
                }
            },
        };
        let mut day = |field, text: &str, time: &str| match text.trim() {
            "" => None,
            day => {
                let read = UnixTime::from_rfc3339(&format!("{day}T{time}Z"));
                if read.is_err() {
                    fault(field, "Write the day as 2026-12-24.".to_owned());
                }
                read.ok()
            }
        };
        let not_before = day("from", &self.from, "00:00:00");
        let until = day("until", &self.until, "23:59:59");
        let value = match self.value.trim() {
            "" => 1,
            text => text.parse().unwrap_or_else(|_| {
                fault("value", "The value is a whole number of credits.".to_owned());
                0
            }),
        };
        match recipient {
            Some(recipient) if faults.is_empty() => {
                let audience = Audience::Plain(recipient.clone());
                let hashed = !self.hashed.is_empty();
                Ok((Order { hashed, sender, not_before, until, value, ..Order::new(audience) }, recipient))
            }
            _ => Err(faults),
        }
    }

    /// Returns the token of Cashu, to be shown again; nothing of one that is too long.
    #[must_use]
    pub fn shown_token(&self) -> &str {
        if self.ecash.0.len() > LONGEST_TOKEN { "" } else { &self.ecash.0 }
    }

    /// Returns the idempotency key of the purchase in the ledger.
    #[must_use]
    pub fn idempotency(&self) -> String {
        format!("page:{}", self.purchase)
    }

    /// Returns the order code, which brings the stamp again: the purchase id and the fields that make the order.
    #[must_use]
    pub fn code(&self) -> String {
        let Self { purchase, recipient, hashed, sender, from, until, value, .. } = self;
        let parts = [purchase, recipient, hashed, sender, from, until, value];
        // Texts can always be serialized as JSON.
        BASE64URL_NOPAD.encode(&serde_json::to_vec(&parts).unwrap_or_default())
    }

    /// Parses an order code. White space in it does not count.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let plain: String = code.split_whitespace().collect();
        let bytes = BASE64URL_NOPAD.decode(plain.as_bytes()).ok()?;
        let [purchase, recipient, hashed, sender, from, until, value] = serde_json::from_slice(&bytes).ok()?;
        Some(Self { purchase, recipient, hashed, sender, from, until, value, ..Self::default() })
    }

    /// Clears fields that are longer than the form allows, and sets a missing purchase id.
    #[must_use]
    pub fn sanitized(mut self, fresh: impl FnOnce() -> String) -> Self {
        for text in [
            &mut self.recipient,
            &mut self.hashed,
            &mut self.sender,
            &mut self.from,
            &mut self.until,
            &mut self.value,
            &mut self.voucher,
            &mut self.mail,
            &mut self.mailed,
        ] {
            if text.len() > LONGEST {
                text.clear();
            }
        }
        let named = (1..=64).contains(&self.purchase.len()) && self.purchase.bytes().all(|b| b.is_ascii_graphic());
        if !named {
            self.purchase = fresh();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(recipient: &str) -> OrderForm {
        OrderForm { recipient: recipient.into(), ..OrderForm::default() }
    }

    #[test]
    fn a_recipient_is_all_that_is_needed() {
        let (order, recipient) = filled(" joe@x.example ").order().unwrap();
        assert_eq!(order, Order::new(Audience::Plain(recipient)));
    }

    #[test]
    fn days_are_whole_days() {
        let wanted = OrderForm {
            from: "2026-12-01".into(),
            until: "2026-12-24".into(),
            value: "5".into(),
            sender: "me@y.example".into(),
            hashed: "on".into(),
            ..filled("joe@x.example")
        };
        let (order, _) = wanted.order().unwrap();
        assert_eq!(order.not_before.unwrap().to_string(), "2026-12-01T00:00:00Z");
        assert_eq!(order.until.unwrap().to_string(), "2026-12-24T23:59:59Z");
        assert_eq!((order.value, order.hashed, order.sender.is_some()), (5, true, true));
    }

    #[test]
    fn every_wrong_field_is_told_at_once() {
        let wanted = OrderForm {
            from: "soon".into(),
            until: "2026-13-01".into(),
            value: "-1".into(),
            sender: "me".into(),
            ..filled("")
        };
        let fields: Vec<_> = wanted.order().unwrap_err().iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["recipient", "sender", "from", "until", "value"]);
    }

    #[test]
    fn an_order_code_brings_the_order_back() {
        let wanted =
            OrderForm {
                purchase: "p".into(), from: "2026-12-01".into(), value: "5".into(), ..filled("joé@x.example")
            };
        let code = wanted.code();
        assert!(code.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{code}");
        let (one, other) = code.split_at(9);
        let again = OrderForm::from_code(&format!(" {one}\r\n {other}\n")).unwrap();
        assert_eq!((again.order(), again.code()), (wanted.order(), code));
        for wrong in ["", "W10", "eyJhIjoxfQ", "no code"] {
            assert!(OrderForm::from_code(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_again_is_short() {
        let tamed = filled(&"a".repeat(10_000)).sanitized(|| "fresh".into());
        assert_eq!((tamed.recipient.as_str(), tamed.purchase.as_str()), ("", "fresh"));
        let kept = OrderForm { purchase: "abc".into(), ..filled("joe@x.example") }.sanitized(|| "fresh".into());
        assert_eq!((kept.recipient.as_str(), kept.purchase.as_str()), ("joe@x.example", "abc"));
    }
}
