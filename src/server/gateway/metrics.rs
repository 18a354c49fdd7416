//! Metrics of the gateway: messages in both directions, and credits. What the bank has is read when the numbers are
//! asked for.

use crate::accounting::bank::books::LicenseState;
use crate::bank::handle::Bank;
use crate::emstamp::fate::Fate;
use crate::os::clock;
use crate::server::http::metrics_endpoint::MetricsSource;
use crate::time::UnixTime;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Prefix of every name.
const PREFIX: &str = "mailstamp_gateway";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Counted {
    direction: &'static str,
    fate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    account: &'static str,
}

/// Counters of a direction.
#[derive(Clone, Debug)]
pub(super) struct Direction {
    fates: Vec<Counter>,
    credits: Counter,
}

impl Direction {
    /// Counts recipients.
    pub(super) fn count(&self, fate: Fate, recipients: usize) {
        if let Some(count) = self.fates.get(fate as usize) {
            count.inc_by(recipients as u64);
        }
    }

    /// Counts a recipient that was paid for.
    pub(super) fn paid(&self, credits: u64) {
        self.count(Fate::Paid, 1);
        self.credits.inc_by(credits);
    }
}

/// Numbers since the start of the process.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Mail that comes.
    pub(super) inbound: Direction,
    /// Mail that leaves.
    pub(super) outbound: Direction,
    /// When the agency last answered, in seconds since 1970; 0 before it did.
    answered: AtomicI64,
    bank: Arc<Bank>,
}

impl Metrics {
    /// Makes the metrics, all zero.
    pub(super) fn new(bank: Arc<Bank>) -> Self {
        let recipients = Family::<Counted, Counter>::default();
        let of = |direction| {
            let fates = Fate::ALL.iter();
            let fates = fates.map(|(_, fate)| recipients.get_or_create_owned(&Counted { direction, fate }));
            Direction { fates: fates.collect(), credits: Counter::default() }
        };
        let (inbound, outbound) = (of("in"), of("out"));
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("recipients", "Recipients of messages, by what became of them", recipients);
        registry.register("received", "Credits that came with messages", inbound.credits.clone());
        registry.register("paid", "Credits that went with messages", outbound.credits.clone());
        let start = ConstGauge::new(clock::now().0);
        registry.register_with_unit("start_time", "Start time of the process, in Unix time", Unit::Seconds, start);
        Self { registry, inbound, outbound, answered: AtomicI64::new(0), bank }
    }

    /// Notes that the agency answered.
    pub(super) fn agency_answered(&self, now: UnixTime) {
        self.answered.store(now.0, Relaxed);
    }

    /// Returns what the bank has. An unknown value is left out, not reported as 0.
    fn found(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let balance = self.bank.balance();
        registry.register("bank_up", "Whether the bank can be read", ConstGauge::new(i64::from(balance.is_ok())));
        if let Ok(has) = balance {
            let credits = Family::<Of, Gauge>::default();
            for (account, amount) in [
                ("held", has.held),
                ("licensed", has.licensed),
                ("reserved", has.reserved),
                ("paid", has.paid),
                ("received", has.received),
            ] {
                credits.get_or_create(&Of { account }).set(whole(amount));
            }
            registry.register("credits", "Credits of the bank by its accounts", credits);
            let live = has.licenses.iter().map(|it| &it.license).filter(|it| it.state == LicenseState::Live);
            if let Some(end) = live.map(|it| it.until.0).max() {
                let text = "End of the licence that lasts longest, in Unix time";
                registry.register_with_unit("license_end", text, Unit::Seconds, ConstGauge::new(end));
            }
        }
        let answered = self.answered.load(Relaxed);
        if answered > 0 {
            let text = "Last answer of the agency, in Unix time";
            registry.register_with_unit("agency_answered", text, Unit::Seconds, ConstGauge::new(answered));
        }
        registry
    }
}

impl MetricsSource for Metrics {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.registry)?;
        text::encode_registry(&mut text, &self.found())?;
        text::encode_eof(&mut text)?;
        Ok(text)
    }

    fn trouble(&self) -> Option<&'static str> {
        self.bank.balance().is_err().then_some("the bank cannot be read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fate_is_counted_by_its_own_number() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = Metrics::new(Arc::new(Bank::new(folder.path(), std::time::Duration::ZERO)));
        for (at, (fate, _)) in Fate::ALL.iter().enumerate() {
            numbers.inbound.count(*fate, at + 1);
        }
        numbers.outbound.paid(7);
        let text = numbers.text().unwrap();
        for (at, (_, fate)) in Fate::ALL.iter().enumerate() {
            let line = format!("\nmailstamp_gateway_recipients_total{{direction=\"in\",fate=\"{fate}\"}} {}\n", at + 1);
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains("\nmailstamp_gateway_paid_total 7\n"), "{text}");
        // There is no bank here.
        assert!(text.contains("\nmailstamp_gateway_bank_up 0\n"), "{text}");
        assert!(!text.contains("gateway_credits") && !text.contains("agency_answered"), "{text}");
        assert_eq!(numbers.trouble(), Some("the bank cannot be read"));
    }
}
