//! Credits of a gateway, from its bank (mailstamp-bank(8)): what it has, and what it paid and received over time and by
//! peer. A peer is an account that was paid, or the licence of a payer.

use super::chart::{Chart, escaped};
use super::count::{By, day};
use super::page::{self, Periods};
use crate::bank::error::BankError;
use crate::bank::handle::Bank;
use crate::bank::statement::Line;
use crate::cli::ui::counts::{grouped, tame};
use crate::cli::ui::exit_status::Failure;
use crate::cli::ui::table::Table;
use crate::context::Context;
use crate::time::UnixTime;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Peers in the table of the page and of the terminal.
const PEERS: usize = 50;

/// Credits that moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// For messages that left.
    pub paid: i64,
    /// With messages that came.
    pub received: u64,
    /// At the agency; negative if more was redeemed.
    pub bought: i64,
}

impl Moved {
    fn add(&mut self, line: &Line) {
        self.merge(&Self { paid: line.paid, received: line.received, bought: line.bought });
    }

    fn merge(&mut self, other: &Self) {
        self.paid = self.paid.saturating_add(other.paid);
        self.received = self.received.saturating_add(other.received);
        self.bought = self.bought.saturating_add(other.bought);
    }
}

/// Figures of a bank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// What the bank has, in all accounts.
    balance: u64,
    sum: Moved,
    periods: Periods<Moved>,
    peers: BTreeMap<String, Moved>,
}

impl Credits {
    /// Reads the bank; `None` if there is none.
    pub fn read(context: &Context, since: Option<UnixTime>) -> Result<Option<Self>, Failure> {
        let Ok(state) = context.places.state() else { return Ok(None) };
        let bank = Bank::new(state, context.config.wait);
        let has = match bank.balance() {
            Err(BankError::Absent { .. }) => return Ok(None),
            other => other?,
        };
        let balance = has.held + has.licensed + has.reserved + has.paid + has.received;
        let mut credits = Self { balance, ..Self::default() };
        bank.statement(since, &mut |line| {
            credits.sum.add(&line);
            if let Some(day) = day(line.at) {
                credits.periods.entry(day).or_default().add(&line);
            }
            if let Some(peer) = &line.peer {
                credits.peers.entry(tame(peer)).or_default().add(&line);
            }
            true
        })?;
        credits.peers.retain(|_, moved| (moved.paid, moved.received) != (0, 0));
        Ok(Some(credits))
    }

    /// Combines the days to periods.
    #[must_use]
    pub fn finish(self, by: By) -> Self {
        Self { periods: by.combined(&self.periods, Moved::merge), ..self }
    }

    /// Returns the peers with the most credits first.
    fn leading(&self) -> Vec<(&str, &Moved)> {
        let mut peers: Vec<_> = self.peers.iter().map(|(name, moved)| (name.as_str(), moved)).collect();
        peers.sort_by_key(|(_, moved)| std::cmp::Reverse(moved.paid.unsigned_abs().saturating_add(moved.received)));
        peers
    }

    /// Formats the figures for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new(&["credits of the gateway", ""], 1);
        for (what, credits) in [
            ("in the bank now", signed(self.balance)),
            ("received with mail", signed(self.sum.received)),
            ("paid for mail", self.sum.paid),
            ("bought, less redeemed", self.sum.bought),
        ] {
            table.row([what.to_owned(), shown(credits)]);
        }
        let mut text = table.lines().join("\n") + "\n";
        if !self.peers.is_empty() {
            let mut table = Table::new(&["peer", "received", "paid"], 1);
            for (peer, moved) in self.leading().into_iter().take(PEERS) {
                table.row([peer.to_owned(), grouped(moved.received), shown(moved.paid)]);
            }
            text = text + "\n" + &table.lines().join("\n") + "\n";
        }
        text
    }

    /// Formats the figures as sections of the page.
    #[must_use]
    pub fn html(&self, by: By) -> String {
        let mut out = String::from("<section>\n<h2>Credits of the gateway</h2>\n<table id=\"credits\">\n<tbody>\n");
        // Writing into a String cannot fail.
        for (what, credits) in [
            ("in the bank now", signed(self.balance)),
            ("received with mail", signed(self.sum.received)),
            ("paid for mail", self.sum.paid),
            ("bought, less redeemed", self.sum.bought),
        ] {
            let _ = writeln!(out, "<tr><th scope=\"row\">{what}</th><td>{}</td></tr>", shown(credits));
        }
        out.push_str("</tbody>\n</table>\n</section>\n");
        if !self.peers.is_empty() {
            out.push_str(
                "<section>\n<h2>Peers of the gateway</h2>\n<table id=\"credit-peers\">\n<thead><tr>\
                 <th scope=\"col\">peer</th><th scope=\"col\">received</th><th scope=\"col\">paid</th></tr></thead>\n\
                 <tbody>\n",
            );
            for (peer, moved) in self.leading().into_iter().take(PEERS) {
                let (received, paid) = (grouped(moved.received), shown(moved.paid));
                let name = escaped(peer);
                let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{received}</td><td>{paid}</td></tr>");
            }
            out.push_str("</tbody>\n</table>\n</section>\n");
        }
        if !self.periods.is_empty() {
            self.over_time(&mut out, by);
        }
        out
    }

    fn over_time(&self, out: &mut String, by: By) {
        page::heading(out, "credit-periods", "Credits received and paid", &self.periods, by);
        let numbers = |moved: &Moved| vec![moved.received, u64::try_from(moved.paid).unwrap_or(0)];
        let chart = Chart {
            id: "credit-chart",
            title: "Credits received and paid over time",
            description: format!(
                "{} credits received with mail, {} paid for mail. The table below holds the numbers.",
                grouped(self.sum.received),
                shown(self.sum.paid)
            ),
            series: vec![("received".to_owned(), "first-class".to_owned()), ("paid".to_owned(), "v1".to_owned())],
            columns: page::columns(&self.periods, numbers),
            stacked: false,
        };
        out.push_str(&chart.html());
        let head = [by.as_str(), "received", "paid", "bought, less redeemed"].map(str::to_owned);
        page::details(out, "credit-periods", &head, &self.periods, |moved| {
            [signed(moved.received), moved.paid, moved.bought].map(shown).to_vec()
        });
    }
}

/// Adds the figures to those of mail.
#[must_use]
pub fn with_json(mut value: Value, credits: Option<&Credits>) -> Value {
    let moved = |moved: &Moved| json!({ "received": moved.received, "paid": moved.paid, "bought": moved.bought });
    value["gateway"] = credits.map_or(Value::Null, |credits| {
        let mut object = moved(&credits.sum);
        object["balance"] = credits.balance.into();
        object["peers"] = credits.peers.iter().map(|(name, sum)| (name.clone(), moved(sum))).collect();
        let periods = credits.periods.iter().map(|(begin, sum)| {
            let mut object = moved(sum);
            object["begin"] = begin.to_string().into();
            object
        });
        object["periods"] = periods.collect();
        object
    });
    value
}

fn signed(credits: u64) -> i64 {
    i64::try_from(credits).unwrap_or(i64::MAX)
}

fn shown(credits: i64) -> String {
    let sign = if credits < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(credits.unsigned_abs()))
}
