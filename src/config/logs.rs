//! The table `[logs]`: what is demanded of the heads of vendors' public logs.

use super::ConfigError;
use super::ranges::Number;
use crate::transparency::note::VerifierKey;
use crate::transparency::witness::{Quorum, key_of};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogsTable {
    #[serde(deserialize_with = "super::entry::list")]
    witnesses: Vec<WitnessKey>,
    minimum: Option<Number<0, 16>>,
}

/// Key of a witness.
struct WitnessKey(VerifierKey);

impl<'de> Deserialize<'de> for WitnessKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        key_of(&text).map(Self).map_err(D::Error::custom)
    }
}

impl LogsTable {
    pub(super) fn settle(self) -> Result<Quorum, ConfigError> {
        let witnesses = self.witnesses.into_iter().map(|witness| witness.0).collect();
        let minimum = self.minimum.map(|minimum| usize::try_from(minimum.0).unwrap_or(usize::MAX));
        Quorum::new(witnesses, minimum).map_err(ConfigError::Logs)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::user::User;

    const ONE: &str = "w.example/1+0e0aac72+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
    const LOG: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, &User::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_witnesses_are_demanded_without_a_number() {
        assert_eq!(parse("").unwrap().logs.minimum(), 0);
        let one = format!("[logs]\nwitnesses = [{ONE:?}]\n");
        assert_eq!(parse(&one).unwrap().logs.minimum(), 1);
        let none = parse(&format!("{one}minimum = 0")).unwrap().logs;
        assert_eq!((none.minimum(), none.witnesses().len()), (0, 1));
    }

    #[test]
    fn what_no_head_could_meet_is_refused() {
        for (table, error) in [
            (format!("witnesses = [{ONE:?}, {ONE:?}]"), "logs.witnesses: w.example/1 is named twice"),
            (format!("witnesses = [{ONE:?}]\nminimum = 2"), "logs.minimum: 2 of 1 witnesses"),
            ("minimum = 1".to_owned(), "logs.minimum: 1 of 0 witnesses"),
            (format!("witnesses = [{LOG:?}]"), "the key of a log, expected that of a witness"),
            (format!("witnesses = [\"x{ONE}\"]"), "the key's identifier is not that of its name and key"),
            ("witnesses = [\"w.example\"]".to_owned(), "not a key for signed notes"),
            (format!("witnesses = {ONE:?}"), "a list, in brackets"),
            ("minimum = 17".to_owned(), "from 0 to 16"),
            ("least = 1".to_owned(), "least"),
        ] {
            let said = parse(&format!("[logs]\n{table}\n")).unwrap_err();
            assert!(said.contains(error) && said.starts_with("line "), "{table}: {said}");
        }
    }
}
