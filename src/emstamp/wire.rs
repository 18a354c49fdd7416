//! The extension on the wire, for both sides (mailstamp-emstamp(5)): the keyword of EHLO, the parameter of MAIL, an
//! offer in the reply to RCPT, the line EMST, and the replies to it.
//!
//! Each text has one spelling, apart from the case of keyword, parameter and verb. Lines come without CRLF, and are
//! written without it.

use super::id::IdError;
use super::token::{Payee, PaymentError};
use crate::message::address::Address;
use crate::smtp::client::reply::ServerReply;
use crate::smtp::reply::Reply;
use crate::stamp::claims::VALUE_MAX;
use crate::stamp::serial::Serial;
use crate::stamp::token::{Token, TokenError};
use crate::time::UnixTime;
use std::fmt;

/// The keyword of EHLO, and the parameter of MAIL.
pub const KEYWORD: &str = "EMSTAMP";
/// The version that is spoken here.
pub const VERSION: &str = "1";
/// The verb that carries a token.
pub const VERB: &str = "EMST";
/// Longest line EMST with its CRLF, in bytes: 1,024 more than RFC 5321 section 4.5.3.1.4 allows a command.
pub const LINE_MAX: usize = 1_536;
/// The enhanced status with which a client is sent for a new ID.
const RENEW: &str = "5.7.15";

/// Returns whether the reply to EHLO offers the extension. The first line has the server's name.
#[must_use]
pub fn is_offered(hello: &ServerReply) -> bool {
    hello.code == 250
        && hello.lines.iter().skip(1).any(|line| {
            let mut words = line.split(' ');
            words.next().is_some_and(|word| word.eq_ignore_ascii_case(KEYWORD)) && words.any(|word| word == VERSION)
        })
}

/// Returns the line of the reply to EHLO.
#[must_use]
pub fn keyword_line() -> String {
    format!("{KEYWORD} {VERSION}")
}

/// Returns whether a parameter of MAIL says that the client can pay.
#[must_use]
pub fn is_parameter(word: &str) -> bool {
    word.eq_ignore_ascii_case(KEYWORD)
}

/// What a priced recipient costs, in the last line of the reply to RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// From 1 to [`VALUE_MAX`].
    pub price: u64,
    /// Opaque to the client.
    pub id: Serial,
    /// Last second of the ID, by the server's clock.
    pub end: UnixTime,
    pub payee: Payee,
}

/// A line is not one of the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// An offer, or the line EMST, in another form.
    #[error("not of the form {0}")]
    Form(&'static str),
    #[error("the line is longer than {LINE_MAX} bytes")]
    TooLong,
    #[error("the token is malformed: {0}")]
    Token(#[from] TokenError),
}

const OFFER_FORM: LineError =
    LineError::Form("'EMSTAMP price=CREDITS id=ID end=SECONDS payee=ACCOUNT@AGENCY', with single blanks");
const PAY_FORM: LineError = LineError::Form("'EMST ID CREDITS TOKEN', with single blanks");

impl Offer {
    /// Parses an offer.
    ///
    /// # Errors
    /// [`LineError::Form`]: another order or spelling, a price of 0, or more behind it.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut words = text.split(' ');
        let begins = words.next().is_some_and(|word| word == KEYWORD);
        let mut value = |name: &str| words.next().and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
        let (price, id, end, payee) = (value("price"), value("id"), value("end"), value("payee"));
        let offer = || {
            let end = number(end?)?.try_into().ok().map(UnixTime)?;
            let price = credits(price?)?;
            Some(Self { price, id: Serial::new(id?).ok()?, end, payee: payee?.parse().ok()? })
        };
        offer().filter(|_| begins && words.next().is_none()).ok_or(OFFER_FORM)
    }

    /// Returns the offer in a reply to RCPT; `None` if the recipient costs nothing or was refused.
    ///
    /// # Errors
    /// [`LineError::Form`] for a last line that begins as an offer and is none. The recipient can then not be paid.
    pub fn of_reply(reply: &ServerReply) -> Result<Option<Self>, LineError> {
        let last = reply.lines.last().filter(|_| reply.code == 250).and_then(|line| line.strip_prefix("2.1.5 "));
        let is_offer = |line: &&str| line.split(' ').next() == Some(KEYWORD);
        last.filter(is_offer).map(Self::parse).transpose()
    }

    /// Returns the reply to RCPT. `text` is what a reader of a log is told before the offer.
    #[must_use]
    pub fn reply(&self, text: &str) -> Reply {
        Reply { code: 250, enhanced: "2.1.5", lines: vec![text.to_owned(), self.to_string()] }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { price, id, end, payee } = self;
        write!(f, "{KEYWORD} price={price} id={id} end={} payee={payee}", end.0)
    }
}

/// The line EMST: it pays one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pay {
    pub id: Serial,
    /// From 1 to [`VALUE_MAX`]; the token says the same.
    pub credits: u64,
    pub token: Token,
}

impl Pay {
    /// Returns whether a command line begins with the verb.
    #[must_use]
    pub fn is_verb(line: &str) -> bool {
        line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(VERB))
    }

    /// Parses the line.
    ///
    /// # Errors
    /// [`LineError`]: too long, another form, or a malformed token.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        if line.len() + 2 > LINE_MAX {
            return Err(LineError::TooLong);
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [verb, id, value, token] = words[..] else { return Err(PAY_FORM) };
        let id = Serial::new(id).ok().filter(|_| verb.eq_ignore_ascii_case(VERB)).ok_or(PAY_FORM)?;
        let credits = credits(value).ok_or(PAY_FORM)?;
        Ok(Self { id, credits, token: Token::parse(token)? })
    }

    /// Returns the line.
    ///
    /// # Errors
    /// [`LineError::TooLong`]: no server must take it. Long names of mailbox, agency, account and licence do that.
    pub fn line(&self) -> Result<String, LineError> {
        let line = format!("{VERB} {} {} {}", self.id, self.credits, self.token.as_str());
        if line.len() + 2 > LINE_MAX { Err(LineError::TooLong) } else { Ok(line) }
    }
}

/// A server's answer to EMST, as its client takes it. Only the code counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The recipient is paid for, now or before.
    Paid,
    /// The client needs a new ID. The reservation stays.
    Renew,
    /// This token will never be accepted.
    Refused,
    /// The same token may be shown again later.
    Deferred,
}

impl Answer {
    /// Reads the reply. One that is neither 250 nor 5xx defers.
    #[must_use]
    pub fn of(reply: &ServerReply) -> Self {
        match reply.code {
            250 => Self::Paid,
            550 if reply.enhanced() == Some(RENEW) => Self::Renew,
            500..=599 => Self::Refused,
            _ => Self::Deferred,
        }
    }
}

/// A server's answer to EMST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Paid,
    /// This message was paid for before.
    Again,
    /// The ID was used for another message.
    Used,
    /// The meter owes as much as is taken from one.
    Exposed,
    /// Before MAIL with the parameter, or before RCPT.
    Misplaced,
    Line(LineError),
    Refused(PaymentError),
}

impl Verdict {
    /// Returns the reply to the client.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let (code, enhanced, text) = match self {
            Self::Paid => (250, "2.1.5", "paid".to_owned()),
            Self::Again => (250, "2.1.5", "again: this message was paid before".to_owned()),
            Self::Used => (550, "5.7.1", "the ID was used for another message".to_owned()),
            Self::Exposed => (451, "4.7.1", "this licence has too much that is not cleared yet".to_owned()),
            Self::Misplaced => (503, "5.5.1", "EMST comes after MAIL with EMSTAMP, and RCPT".to_owned()),
            Self::Line(LineError::TooLong) => (500, "5.5.2", LineError::TooLong.to_string()),
            Self::Line(LineError::Form(form)) => (501, "5.5.4", LineError::Form(form).to_string()),
            Self::Line(error) => (550, "5.7.1", error.to_string()),
            Self::Refused(error) => {
                let (code, enhanced) = match error {
                    // One code for all: the client does the same.
                    PaymentError::Id(IdError::Ended | IdError::Foreign) | PaymentError::LicenseEnded => (550, RENEW),
                    PaymentError::Unlisted | PaymentError::Directory => (451, "4.7.1"),
                    _ => (550, "5.7.1"),
                };
                (code, enhanced, error.to_string())
            }
        };
        Reply::new(code, enhanced, text)
    }
}

/// Returns the reply to RCPT for a priced mailbox where the client cannot pay. With `closes`, the connection ends after
/// it.
#[must_use]
pub fn unaware(mailbox: &Address, price: u64, help: &str, closes: bool) -> Reply {
    let (code, enhanced) = if closes { (421, "4.7.1") } else { (550, "5.7.1") };
    let unit = if price == 1 { "credit" } else { "credits" };
    let lines = vec![format!("<{mailbox}>: this mailbox asks {price} {unit} for a message"), format!("see {help}")];
    Reply { code, enhanced, lines }
}

/// Digits without a leading zero, up to 20.
fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain || (text.starts_with('0') && text.len() > 1) { None } else { text.parse().ok() }
}

fn credits(text: &str) -> Option<u64> {
    number(text).filter(|credits| (1..=VALUE_MAX).contains(credits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::fingerprint::Fingerprint;
    use crate::stamp::signing::SecretKey;
    use crate::stamp::token::{Issuer, Purpose};
    use proptest::prelude::*;

    const OFFER: &str =
        "EMSTAMP price=3 id=AAECAwQFBgdrDdaAabcdefghijklmnopqrstuv end=1796169600 payee=x@agency.example";

    fn server_reply(code: u16, lines: &[&str]) -> ServerReply {
        ServerReply { code, lines: lines.iter().map(ToString::to_string).collect() }
    }

    fn token() -> Token {
        SecretKey::from_random(&[1; 32]).sign(b"{}", b"{}", Purpose::Meter)
    }

    #[test]
    fn the_keyword_is_followed_by_versions() {
        let offered = |line: &str| is_offered(&server_reply(250, &["mx.x.example", "SIZE 1", line]));
        for line in ["EMSTAMP 1", "emstamp 1", "EMSTAMP 2 1", "EMSTAMP 1 2"] {
            assert!(offered(line), "{line}");
        }
        for line in ["EMSTAMP", "EMSTAMP 2", "EMSTAMP=1", "EMSTAMP 11", "EMSTAMPS 1", "XEMSTAMP 1", ""] {
            assert!(!offered(line), "{line}");
        }
        assert!(!is_offered(&server_reply(250, &["EMSTAMP 1"])));
        assert!(!is_offered(&server_reply(550, &["x", "EMSTAMP 1"])));
        assert!(offered(&keyword_line()));
        assert!(is_parameter("eMstamp") && !is_parameter("EMSTAMP=1"));
    }

    #[test]
    fn an_offer_is_the_last_line_of_its_reply() {
        let offer = Offer::parse(OFFER).unwrap();
        assert_eq!((offer.price, offer.end, offer.payee.account()), (3, UnixTime(1_796_169_600), "x"));
        assert_eq!(offer.to_string(), OFFER);
        let mut sent = Vec::new();
        offer.reply("ok").write(&mut sent);
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(sent, format!("250-2.1.5 ok\r\n250 2.1.5 {OFFER}\r\n"));
        let line = format!("2.1.5 {OFFER}");
        let of = |code, lines: &[&str]| Offer::of_reply(&server_reply(code, lines));
        assert_eq!(of(250, &["2.1.5 ok", &line]), Ok(Some(offer.clone())));
        assert_eq!(of(250, &[&line]), Ok(Some(offer)));
        for (code, lines) in [
            (250, &[line.as_str(), "2.1.5 ok"][..]),
            (250, &[]),
            (250, &[OFFER]),
            (250, &["2.1.5 ok"]),
            (250, &["2.1.5 EMSTAMPS"]),
            (251, &[&line]),
            (550, &[&line]),
        ] {
            assert_eq!(of(code, lines), Ok(None), "{code} {lines:?}");
        }
        assert_eq!(of(250, &["2.1.5 EMSTAMP price=0"]), Err(OFFER_FORM));
    }

    #[test]
    fn an_offer_has_one_spelling() {
        for (from, to) in [
            ("price=3", "price=0"),
            ("price=3", "price=03"),
            ("price=3", "price=+3"),
            ("price=3", "price="),
            ("price=3", "price=9007199254740992"),
            ("price=3", "PRICE=3"),
            ("price=3 ", ""),
            ("price=3 ", "price=3  "),
            ("id=A", "id=."),
            ("id=AAEC", "id="),
            ("end=1796169600", "end=-1"),
            ("end=1796169600", "end=99999999999999999999"),
            ("payee=x@", "payee=X@"),
            ("payee=x@agency.example", "payee=x"),
            ("EMSTAMP", "emstamp"),
            ("agency.example", "agency.example "),
            ("agency.example", "agency.example more=1"),
        ] {
            let text = OFFER.replacen(from, to, 1);
            if to == "id=" {
                assert!(Offer::parse(&text).is_ok());
                continue;
            }
            assert_eq!(Offer::parse(&text), Err(OFFER_FORM), "{text}");
        }
    }

    #[test]
    fn the_line_carries_a_token() {
        let pay = Pay { id: Serial::new("abc").unwrap(), credits: 3, token: token() };
        let line = pay.line().unwrap();
        assert_eq!(line, format!("EMST abc 3 {}", token().as_str()));
        assert!(Pay::is_verb(&line) && Pay::is_verb("emst") && !Pay::is_verb("EMSTAMP") && !Pay::is_verb(""));
        for line in [line.clone(), line.replacen("EMST", "emst", 1)] {
            assert_eq!(Pay::parse(&line), Ok(pay.clone()));
        }
        for (from, to) in [
            ("abc", "a.c"),
            ("abc ", ""),
            (" 3 ", " 0 "),
            (" 3 ", " 03 "),
            (" 3 ", "  3 "),
            (" 3 ", " x "),
            ("EMST ", "EMST  "),
            ("EMST ", "EMSTAMP "),
        ] {
            assert_eq!(Pay::parse(&line.replacen(from, to, 1)), Err(PAY_FORM), "{from:?} {to:?}");
        }
        assert_eq!(Pay::parse(&format!("{line} ")), Err(PAY_FORM));
        assert_eq!(Pay::parse("EMST"), Err(PAY_FORM));
        assert!(matches!(Pay::parse("EMST abc 3 v4.public.A"), Err(LineError::Token(_))));
        assert!(matches!(Pay::parse(&format!("{line}=")), Err(LineError::Token(_))));
    }

    #[test]
    fn a_line_has_a_limit() {
        let of = |payload: usize| {
            let token = SecretKey::from_random(&[1; 32]).sign(&vec![b' '; payload], b"", Purpose::Meter);
            Pay { id: Serial::new("a").unwrap(), credits: 1, token }
        };
        let longest = of(1_072);
        assert_eq!(longest.line().map(|line| line.len() + 2), Ok(LINE_MAX));
        assert_eq!(Pay::parse(&longest.line().unwrap()), Ok(longest));
        let long = of(1_073);
        assert_eq!(long.line(), Err(LineError::TooLong));
        let line = format!("EMST a 1 {}", long.token.as_str());
        assert_eq!(Pay::parse(&line), Err(LineError::TooLong));
    }

    /// With an address and names as long as they are in practice, a line has space left.
    #[test]
    fn usual_names_fit_into_a_line() {
        use crate::emstamp::token::Payment;
        let payment = Payment {
            id: Serial::new("A".repeat(38)).unwrap(),
            mailbox: Address::parse(&format!("{}@{}.example", "a".repeat(64), "b".repeat(60))).unwrap(),
            credits: VALUE_MAX,
            message: Fingerprint([0; 32]),
            expires: UnixTime(1_796_169_600),
            payee: format!("{}@{}.example", "c".repeat(64), "d".repeat(60)).parse().unwrap(),
        };
        let license = Issuer::new(&format!("{}.example", "d".repeat(60)), &"e".repeat(64)).unwrap();
        let token = payment.sign(&license, &SecretKey::from_random(&[1; 32])).unwrap();
        let line = Pay { id: payment.id, credits: VALUE_MAX, token }.line().unwrap();
        assert!(line.len() + 2 <= LINE_MAX, "{}", line.len());
    }

    #[test]
    fn replies_say_what_the_client_does_next() {
        let replied = |verdict: Verdict| {
            let mut out = Vec::new();
            verdict.reply().write(&mut out);
            let mut replies = crate::smtp::client::reply::Replies::default();
            replies.receive(&out);
            let reply = replies.next_reply().unwrap().unwrap();
            (reply.code, reply.enhanced().unwrap().to_owned(), Answer::of(&reply))
        };
        let refused = |error| Verdict::Refused(error);
        for (verdict, code, status, answer) in [
            (Verdict::Paid, 250, "2.1.5", Answer::Paid),
            (Verdict::Again, 250, "2.1.5", Answer::Paid),
            (Verdict::Used, 550, "5.7.1", Answer::Refused),
            (Verdict::Exposed, 451, "4.7.1", Answer::Deferred),
            (Verdict::Misplaced, 503, "5.5.1", Answer::Refused),
            (Verdict::Line(LineError::TooLong), 500, "5.5.2", Answer::Refused),
            (Verdict::Line(PAY_FORM), 501, "5.5.4", Answer::Refused),
            (Verdict::Line(LineError::Token(TokenError::TooLong)), 550, "5.7.1", Answer::Refused),
            (refused(PaymentError::Id(IdError::Ended)), 550, "5.7.15", Answer::Renew),
            (refused(PaymentError::Id(IdError::Foreign)), 550, "5.7.15", Answer::Renew),
            (refused(PaymentError::LicenseEnded), 550, "5.7.15", Answer::Renew),
            (refused(PaymentError::Unlisted), 451, "4.7.1", Answer::Deferred),
            (refused(PaymentError::Directory), 451, "4.7.1", Answer::Deferred),
            (refused(PaymentError::Signature), 550, "5.7.1", Answer::Refused),
            (refused(PaymentError::TooFew { given: 1, price: 3 }), 550, "5.7.1", Answer::Refused),
            (refused(PaymentError::Agency("a.example".into())), 550, "5.7.1", Answer::Refused),
        ] {
            assert_eq!(replied(verdict.clone()), (code, status.to_owned(), answer), "{verdict:?}");
        }
        let of = |code, line: &str| Answer::of(&server_reply(code, &[line]));
        assert_eq!(of(500, "5.7.15 x"), Answer::Refused);
        assert_eq!(
            (of(251, ""), of(354, ""), of(421, "4.7.15")),
            (Answer::Deferred, Answer::Deferred, Answer::Deferred)
        );
        assert_eq!(of(550, "2.7.15"), Answer::Refused);
    }

    #[test]
    fn an_unaware_client_is_told_the_price() {
        let told = |price, closes| {
            let mut out = Vec::new();
            let alice = Address::parse("alice@x.example").unwrap();
            unaware(&alice, price, "https://x.example/mail", closes).write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let expected = "550-5.7.1 <alice@x.example>: this mailbox asks 3 credits for a message\r\n\
                        550 5.7.1 see https://x.example/mail\r\n";
        assert_eq!(told(3, false), expected);
        assert!(told(1, true).starts_with("421-4.7.1 <alice@x.example>: this mailbox asks 1 credit for"));
    }

    proptest! {
        #[test]
        fn an_offer_is_read_as_it_was_written(
            price in 1..=VALUE_MAX, id in "[A-Za-z0-9_-]{1,64}", end in 0_i64.., account in "[a-z0-9._-]{1,64}",
        ) {
            let payee = Payee::new(&account, "agency.example").unwrap();
            let offer = Offer { price, id: Serial::new(id).unwrap(), end: UnixTime(end), payee };
            prop_assert_eq!(Offer::parse(&offer.to_string()), Ok(offer.clone()));
            let mut sent = Vec::new();
            offer.reply("ok").write(&mut sent);
            prop_assert!(sent.split(|&byte| byte == b'\n').all(|line| line.len() < 512));
            let text = String::from_utf8(sent).unwrap();
            let last = format!("{offer}\r\n");
            prop_assert!(text.ends_with(&last));
        }

        #[test]
        fn what_is_read_is_written_alike(
            word in "(EMST|EMSTAMP|emst)? ?", words in "((price|id|end|payee)=)?[a-z0-9@. =-]{0,40}", value in "[0-9]{0,3}",
        ) {
            let token = token();
            for text in [format!("{word}{words}"), format!("{word}{words} {value} {}", token.as_str())] {
                if let Ok(offer) = Offer::parse(&text) {
                    prop_assert_eq!(offer.to_string(), &text[..]);
                }
                if let Ok(pay) = Pay::parse(&text) {
                    prop_assert!(pay.line().unwrap().eq_ignore_ascii_case(&text));
                }
            }
        }
    }
}
