//! Judging protocol of the daemon: heads of the frames, as JSON. The body of a request is the message, or its header
//! alone if it carries no stamp.

use crate::engine::result_header::HeaderContext;
use crate::policy::action::Action;
use crate::policy::decision::Decision;
use crate::stamp::extract::Place;
use crate::stamp::serial::Serial;
use crate::time::UnixTime;
use crate::verdict::finding::{Believed, Finding, Verdict};
use crate::verdict::reason::Reason;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The largest message that the daemon judges: 8 MiB. Sending a larger one costs more than judging it.
pub const LARGEST: usize = 8 << 20;

/// A request to judge a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeRequest {
    /// The files that the client would use.
    pub file_set: FileSet,
    /// The mailbox, as named by the delivering program.
    pub names: MailboxNames,
    /// The one recipient to judge for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The envelope sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The time to judge at; the system's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<UnixTime>,
    /// Whether a good stamp is spent.
    pub spend: bool,
    /// Whether the verdict is logged.
    pub record: bool,
    /// Bytes of the whole message.
    pub size: u64,
    /// Whether the frame's body is the whole message; otherwise it is the header of a message without a stamp.
    pub whole: bool,
    /// Whether the message is too large for the daemon, so that its stamps are not examined. The body of the frame is
    /// then the header, or its beginning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beginning: bool,
}

/// The files that a process would use. The daemon answers only clients that use the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSet {
    /// The configuration that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// The folder of the state that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// The user's folders of configuration and state, if none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<(PathBuf, Option<PathBuf>)>,
}

/// The names of the mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxNames {
    /// `--recipient`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// `USER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `RECIPIENT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_variable: Option<String>,
}

/// The response: the judgement, and the settings for its result fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeResponse {
    /// The judgement.
    pub decision: Decision,
    /// The settings for the result fields.
    pub marks: HeaderContext,
}

#[derive(Serialize, Deserialize)]
struct ResponseDto {
    reason: String,
    action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deciding_stamp: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boundary: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stamps: Vec<FindingDto>,
    marks: HeaderContext,
}

#[derive(Serialize, Deserialize)]
struct FindingDto {
    place: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serial: Option<Serial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl JudgeResponse {
    /// Encodes the head of the frame.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_head(&self) -> Result<Vec<u8>, serde_json::Error> {
        let verdict = &self.decision.verdict;
        let finding = |finding: &Finding| FindingDto {
            place: finding.place,
            vendor: finding.vendor.clone(),
            key: finding.key_id.clone(),
            serial: finding.serial.clone(),
            value: finding.value,
            reason: finding.reason.map(|reason| reason.as_str().to_owned()),
        };
        serde_json::to_vec(&ResponseDto {
            reason: verdict.reason.as_str().to_owned(),
            action: self.decision.action,
            rule: self.decision.rule.clone(),
            deciding_stamp: verdict.deciding_stamp,
            boundary: verdict.boundary.as_ref().map(|it| it.host.clone()),
            stamps: verdict.findings.iter().map(finding).collect(),
            marks: self.marks.clone(),
        })
    }

    /// Decodes the head of a frame; `None` when this version does not understand it.
    #[must_use]
    pub fn from_head(head: &[u8]) -> Option<Self> {
        let words: ResponseDto = serde_json::from_slice(head).ok()?;
        let reason = |token: &str| Reason::ALL.iter().copied().find(|reason| reason.as_str() == token);
        let mut findings = Vec::with_capacity(words.stamps.len());
        for stamp in words.stamps {
            findings.push(Finding {
                vendor: stamp.vendor,
                key_id: stamp.key,
                serial: stamp.serial,
                value: stamp.value,
                reason: match stamp.reason {
                    Some(token) => Some(reason(&token)?),
                    None => None,
                },
                ..Finding::of(stamp.place)
            });
        }
        let boundary = words.boundary.map(|host| Believed { host, field: None });
        let deciding_stamp = words.deciding_stamp;
        let verdict = Verdict { reason: reason(&words.reason)?, deciding_stamp, boundary, findings };
        Some(Self { decision: Decision { verdict, rule: words.rule, action: words.action }, marks: words.marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_arrives_as_it_was_given() {
        for reason in Reason::ALL {
            let finding = Finding {
                vendor: Some("v.example".into()),
                serial: Some(Serial::new("s").unwrap()),
                value: Some(3),
                reason: Some(*reason),
                ..Finding::of(Place::Body)
            };
            let quiet = Finding { reason: None, ..finding.clone() };
            let verdict = Verdict {
                reason: *reason,
                deciding_stamp: Some(0),
                boundary: Some(Believed { host: "mx.x.example".into(), field: None }),
                findings: vec![finding, quiet],
            };
            let decision = Decision { verdict, rule: Some("friends".into()), action: Action::Hold };
            let marks = HeaderContext {
                authserv_id: Some("mx.x.example".into()),
                trusted_authserv_ids: vec!["mx.x.example".into()],
                used_log: true,
            };
            let answer = JudgeResponse { decision, marks };
            assert_eq!(JudgeResponse::from_head(&answer.to_head().unwrap()), Some(answer));
        }
        assert_eq!(
            JudgeResponse::from_head(b"{\"reason\":\"new\",\"action\":\"hold\",\"marks\":{\"used_log\":true}}"),
            None
        );
        assert_eq!(JudgeResponse::from_head(b""), None);
    }
}
