//! Template of a reply: text with fields in braces, built in or from a file of the user's. Parsing checks the whole
//! template, so that filling it in cannot fail.

use super::eligibility::Kind;
use crate::message::address::Address;
use crate::message::header::percent_encoded;
use crate::time::UnixTime;

/// The largest template, in bytes.
pub const LARGEST: usize = 8 * 1024;

/// Parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Words(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Address,
    Price,
    Vendors,
    RetainedAs,
    Subject,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing but white space.
    #[error("empty template")]
    Empty,
    /// Larger than [`LARGEST`].
    #[error("larger than 8 KiB")]
    TooLarge,
    /// Unknown field.
    #[error(
        "line {line}: {{{name}}} is not a field; fields: {{address}}, {{price}}, {{vendors}}, {{kept}} and {{subject}}"
    )]
    Unknown { line: usize, name: String },
    #[error("line {line}: a brace without its partner (write {{{{ or }}}} for a literal one)")]
    Brace { line: usize },
    /// A control character that is neither the end of a line nor a tab.
    #[error("line {line}: a control character")]
    Control { line: usize },
}

/// Values of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `{address}`: the user's address to which the message was sent.
    pub address: Option<Address>,
    /// `{price}`: the credits that the address asks.
    pub price: u64,
    /// `{vendors}`: name and link of each vendor.
    pub vendors: Vec<VendorOffer>,
    /// `{kept}`: a sentence that says whether the message is held.
    pub kept: RetainedAs,
    /// `{subject}`: the subject of the message, made harmless.
    pub subject: String,
}

/// What happens to the answered message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainedAs {
    /// Unknown.
    #[default]
    No,
    /// The message is held until this time.
    Until(UnixTime),
    /// The message is held without a limit.
    ForGood,
}

/// Vendor that the user trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorOffer {
    /// Its name.
    pub vendor: String,
    /// Where its stamps are sold.
    pub buy: Option<String>,
}

/// Most vendors that a reply names.
const VENDORS: usize = 10;
/// Longest web address of a vendor, in characters.
const URL: usize = 300;
/// Longest link with recipient and value filled in. A longer one is left as the vendor wrote it.
const LINK: usize = 600;

impl Template {
    /// Parses a template. Appends a line end if the last line has none.
    ///
    /// # Errors
    /// [`TemplateError`], with the line.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LARGEST {
            return Err(TemplateError::TooLarge);
        }
        let text = text.replace("\r\n", "\n");
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut pieces = Vec::new();
        let mut words = String::new();
        let mut line = 1;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => words.push(c),
                '{' => {
                    let name: String =
                        std::iter::from_fn(|| chars.next_if(|c| !matches!(c, '{' | '}' | '\n'))).collect();
                    if chars.next() != Some('}') {
                        return Err(TemplateError::Brace { line });
                    }
                    let field = Field::named(&name).ok_or(TemplateError::Unknown { line, name })?;
                    pieces.push(Piece::Words(std::mem::take(&mut words)));
                    pieces.push(Piece::Field(field));
                }
                '}' => return Err(TemplateError::Brace { line }),
                c if c.is_control() && !matches!(c, '\n' | '\t') => return Err(TemplateError::Control { line }),
                c => {
                    line += usize::from(c == '\n');
                    words.push(c);
                }
            }
        }
        if !text.ends_with('\n') {
            words.push('\n');
        }
        pieces.push(Piece::Words(words));
        Ok(Self(pieces))
    }

    /// Returns the built-in template.
    #[must_use]
    pub fn default_of(kind: Kind) -> Self {
        let text = default_text(kind);
        // A test parses both.
        Self::parse(text).unwrap_or_else(|_| Self(vec![Piece::Words(text.to_owned())]))
    }

    /// Returns the text with its fields filled in, lines ending with LF.
    #[must_use]
    pub fn fill(&self, values: &Values) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Words(words) => words.clone(),
            Piece::Field(field) => field.value(values),
        });
        pieces.collect()
    }
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "address" => Self::Address,
            "price" => Self::Price,
            "vendors" => Self::Vendors,
            "kept" => Self::RetainedAs,
            "subject" => Self::Subject,
            _ => return None,
        })
    }

    fn value(self, values: &Values) -> String {
        match self {
            Self::Address => values.address.as_ref().map(Address::to_string).unwrap_or_default(),
            Self::Price if values.price == 1 => "1 credit".to_owned(),
            Self::Price => format!("{} credits", values.price),
            Self::Vendors => {
                let offers = values.vendors.iter().take(VENDORS);
                let lines: Vec<String> =
                    offers.map(|offer| offer.lines(values.address.as_ref(), values.price)).collect();
                lines.join("\n")
            }
            Self::RetainedAs => match values.kept {
                RetainedAs::Until(time) => {
                    let day: String = time.to_string().chars().take_while(|c| *c != 'T').collect();
                    format!("Your first message is kept aside, unread, until {day}.")
                }
                RetainedAs::ForGood => "Your first message is kept aside, unread.".to_owned(),
                RetainedAs::No => "Your first message will most likely stay unread.".to_owned(),
            },
            Self::Subject => values.subject.clone(),
        }
    }
}

impl VendorOffer {
    /// Returns the line of this vendor, and below it a link to its page that fills in the order. It has a line to
    /// itself so that few replies have lines that must be encoded.
    fn lines(&self, recipient: Option<&Address>, price: u64) -> String {
        let name: String = self.vendor.chars().filter(char::is_ascii_graphic).take(URL).collect();
        // A mail reader may turn the text into a link, so it must be a web address and nothing else.
        let web = |url: &&str| {
            let scheme = url.starts_with("https://") || url.starts_with("http://");
            scheme && url.len() <= URL && url.bytes().all(|b| b.is_ascii_graphic())
        };
        match self.buy.as_deref().filter(web) {
            Some(buy) => {
                let filled = recipient.map(|recipient| order_link(buy, recipient, price));
                let link = filled.filter(|link| link.len() <= LINK);
                format!("  * {name}:\n    {}", link.as_deref().unwrap_or(buy))
            }
            None => format!("  * {name}"),
        }
    }
}

/// Returns the address of a vendor's page with the query `recipient=…&value=…` added (RFC 3986 section 3.4).
fn order_link(buy: &str, recipient: &Address, value: u64) -> String {
    let (page, fragment) = buy.split_at(buy.find('#').unwrap_or(buy.len()));
    let has_path = page.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
    let separator = match (page.contains('?'), has_path) {
        (true, _) => "&",
        (false, true) => "?",
        (false, false) => "/?",
    };
    format!("{page}{separator}recipient={}&value={value}{fragment}", percent_encoded(&recipient.to_string()))
}

/// Returns the built-in text for a kind of reply, which mailstamp(7) quotes.
#[must_use]
pub fn default_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Challenge => CHALLENGE,
        Kind::Compromised => COMPROMISED,
    }
}

const CHALLENGE: &str = "\
This is an automatic reply. Your message has not been read yet.

Mail from people who are not known to {address}
needs a digital stamp: a small token, bought for this one recipient.
It costs you little, and shows that you are not writing to everyone.

1. Get a stamp of at least {price} for the recipient

       {address}

   from one of these vendors. The links fill in the order:

{vendors}

2. Copy the stamp (it begins with \"v4.public.\") anywhere into the text
   of your message, between these two lines:

-----BEGIN DIGITAL STAMP-----
-----END DIGITAL STAMP-----

   If your mail program lets you add header lines, this one does too:

       Digital-Stamp: v4.public. ...

3. Send the message again to the same address.

{kept}
A stamp is good for one message.
";

const COMPROMISED: &str = "\
This is an automatic reply. Your message has not been read.

The digital stamp on it is no longer good. The recipient,

       {address}

revoked it because of mail that came with it. Perhaps your stamp was
copied; perhaps your earlier mail was not welcome.

If your message is serious, send it again with a fresh stamp of at least
{price}, which you get from one of these vendors:

{vendors}

Take the old stamp off first.
{kept}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            address: Some(Address::parse("alice@x.example").unwrap()),
            price: 5,
            vendors: vec![
                VendorOffer { vendor: "v.example".into(), buy: Some("https://v.example/buy?a;b".into()) },
                VendorOffer { vendor: "w.example".into(), buy: Some("javascript:alert(1)".into()) },
                VendorOffer { vendor: "x.exa\nmple".into(), buy: Some("https://x.example/\n\nBuy here".into()) },
            ],
            kept: RetainedAs::Until("2026-12-21T12:00:00Z".parse().unwrap()),
            subject: "a {price} matter".into(),
        }
    }

    fn fill(text: &str) -> String {
        Template::parse(text).unwrap().fill(&values())
    }

    #[test]
    fn fields_are_filled_in_once() {
        assert_eq!(fill("{address}: {price}, {subject}"), "alice@x.example: 5 credits, a {price} matter\n");
        assert_eq!(fill("{{price}} }}{{\r\n"), "{price} }{\n");
        let link = "https://v.example/buy?a;b&recipient=alice@x.example&value=5";
        assert_eq!(fill("{vendors}"), format!("  * v.example:\n    {link}\n  * w.example\n  * x.example\n"));
        let one = Values { price: 1, kept: RetainedAs::No, ..values() };
        assert_eq!(Template::parse("{price}").unwrap().fill(&one), "1 credit\n");
        assert!(fill("{kept}").contains("until 2026-12-21"));
        assert!(!Template::parse("{kept}").unwrap().fill(&one).contains("until"));
    }

    #[test]
    fn a_link_carries_one_recipient_and_one_value() {
        let link = |buy: &str, recipient: &str| order_link(buy, &Address::parse(recipient).unwrap(), 5);
        for (buy, filled) in [
            ("https://v.example", "https://v.example/?recipient=a@x.example&value=5"),
            ("https://v.example/", "https://v.example/?recipient=a@x.example&value=5"),
            ("https://v.example/buy#top", "https://v.example/buy?recipient=a@x.example&value=5#top"),
            ("https://v.example?b=1", "https://v.example?b=1&recipient=a@x.example&value=5"),
        ] {
            assert_eq!(link(buy, "a@x.example"), filled);
        }
        let odd = link("https://v.example/", "a&value=9#=%\u{fc}+b@x.example");
        assert_eq!(odd, "https://v.example/?recipient=a%26value%3D9%23%3D%25%C3%BC%2Bb@x.example&value=5");
        // A link that would be too long stays as the vendor wrote it.
        let buy = format!("https://v.example/{}", "b".repeat(URL - 18));
        let offer = VendorOffer { vendor: "v.example".into(), buy: Some(buy.clone()) };
        let long = Address::parse(&format!("{}@x.example", "&".repeat(64))).unwrap();
        let longest = offer.lines(Some(&long), u64::MAX);
        assert!(longest.contains("%26%26") && longest.len() < LINK, "{longest}");
        let domain = vec!["b".repeat(60); 3].join(".");
        let longer = Address::parse(&format!("{}@{domain}.example", "&".repeat(64))).unwrap();
        assert_eq!(offer.lines(Some(&longer), u64::MAX), format!("  * v.example:\n    {buy}"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(wrong("a\nb {adress}\n"), TemplateError::Unknown { line: 2, name: "adress".into() });
        for text in ["\n{", "\n}", "\n{price", "\n{price\n}", "\na } b", "\n{{{"] {
            assert_eq!(wrong(text), TemplateError::Brace { line: 2 }, "{text:?}");
        }
        assert_eq!(wrong("\n{pri{ce}"), TemplateError::Brace { line: 2 });
        assert_eq!(wrong("a\n\u{1b}[31m"), TemplateError::Control { line: 2 });
        assert_eq!(wrong("a\rb"), TemplateError::Control { line: 1 });
        assert_eq!(wrong(" \n\t\n"), TemplateError::Empty);
        assert_eq!(wrong(&"a".repeat(LARGEST + 1)), TemplateError::TooLarge);
        assert!(Template::parse(&"a".repeat(LARGEST)).is_ok());
        let told = wrong("{adress}").to_string();
        assert!(told.starts_with("line 1: {adress} is not a field; fields: {address}, "), "{told}");
    }

    #[test]
    fn our_own_texts_can_be_read_and_differ() {
        for kind in Kind::ALL {
            let text = Template::parse(default_text(kind)).unwrap().fill(&values());
            assert!(text.is_ascii() && !text.contains(['{', '}']), "{text}");
            assert!(text.lines().all(|line| line.len() <= 76), "{text}");
            for part in ["alice@x.example\n", "5 credits", "  * v.example:\n    https://", "2026-12-21", "again"] {
                assert!(text.contains(part), "{kind}: {part}: {text}");
            }
        }
        assert_ne!(default_text(Kind::Challenge), default_text(Kind::Compromised));
    }
}
