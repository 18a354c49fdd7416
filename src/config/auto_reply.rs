//! The table `[replies]`: which automatic replies are sent, how often, by which program, and with which templates. None
//! is sent by default. Templates are read when needed, and by `config check`.

use super::ConfigError;
use super::file::{self, FileError};
use super::ranges::{HOUR, Number, Seconds};
use crate::autoreply::eligibility::{Kind, Policy};
use crate::autoreply::return_path::is_plain;
use crate::autoreply::template::{Template, TemplateError};
use crate::message::address::{Address, AddressError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// Which replies are sent, and to which senders.
    pub policy: Policy,
    /// The sender of a reply, if not the address that was written to.
    pub from: Option<Address>,
    /// Seconds between two replies to one sender.
    pub per_sender: i64,
    /// The most replies in a day.
    pub per_day: u32,
    /// The sendmail(8) program.
    pub sendmail: PathBuf,
    /// The user's template for a challenge.
    pub challenge_template: Option<PathBuf>,
    /// The user's template for a compromised notice.
    pub compromised_template: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RepliesTable {
    challenge: bool,
    compromised: bool,
    from: Option<String>,
    per_sender: Seconds<HOUR>,
    per_day: Number<0, 10_000>,
    require_authentication: bool,
    sendmail: String,
    challenge_template: Option<String>,
    compromised_template: Option<String>,
}

impl Default for RepliesTable {
    fn default() -> Self {
        Self {
            challenge: false,
            compromised: false,
            from: None,
            per_sender: Seconds(7 * 86_400),
            per_day: Number(50),
            require_authentication: true,
            sendmail: "/usr/sbin/sendmail".to_owned(),
            challenge_template: None,
            compromised_template: None,
        }
    }
}

/// Error in a template file.
#[derive(Debug, thiserror::Error)]
pub enum TemplateFileError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content is no template.
    #[error("{}: {source}", path.display())]
    Content { path: PathBuf, source: TemplateError },
}

impl RepliesTable {
    /// Returns the settings. `expand` fills in the `%` signs of a value; `path` makes a path of it.
    pub(super) fn settle(
        self,
        expand: &dyn Fn(&'static str, String) -> Result<String, ConfigError>,
        path: &dyn Fn(&'static str, Option<String>) -> Result<Option<PathBuf>, ConfigError>,
    ) -> Result<Replies, ConfigError> {
        let from = self.from.map(|text| expand("replies.from", text)).transpose()?;
        let address = |text: String| match Address::parse(&text) {
            Ok(address) if is_plain(&address) => Ok(address),
            Ok(_) => {
                let source = AddressError::Local.into();
                Err(ConfigError::Pattern { key: "replies.from", text, source })
            }
            Err(source) => Err(ConfigError::Pattern { key: "replies.from", text, source: source.into() }),
        };
        Ok(Replies {
            policy: Policy {
                challenge: self.challenge,
                compromised: self.compromised,
                require_authentication: self.require_authentication,
            },
            from: from.map(address).transpose()?,
            per_sender: self.per_sender.0,
            per_day: u32::try_from(self.per_day.0).unwrap_or(u32::MAX),
            sendmail: path("replies.sendmail", Some(self.sendmail))?.unwrap_or_default(),
            challenge_template: path("replies.challenge_template", self.challenge_template)?,
            compromised_template: path("replies.compromised_template", self.compromised_template)?,
        })
    }
}

impl Replies {
    /// Returns whether any reply is switched on.
    #[must_use]
    pub fn on(&self) -> bool {
        self.policy.challenge || self.policy.compromised
    }

    /// Returns the template for a kind of reply.
    ///
    /// # Errors
    /// [`TemplateFileError`], which names the file.
    pub fn template(&self, kind: Kind) -> Result<Template, TemplateFileError> {
        let path: Option<&Path> = match kind {
            Kind::Challenge => self.challenge_template.as_deref(),
            Kind::Compromised => self.compromised_template.as_deref(),
        };
        let Some(path) = path else { return Ok(Template::default_of(kind)) };
        let content = |source| TemplateFileError::Content { path: path.to_owned(), source };
        Template::parse(&file::read(path)?).map_err(content)
    }
}
