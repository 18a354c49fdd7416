//! Charts as SVG inside the page: columns for periods, stacked or side by side. The page stretches a drawing to its
//! width, so the drawing holds no text. Scales and days are text of the page beside it, readable on a phone.

use crate::cli::ui::counts::grouped;
use std::fmt::Write;

/// Escapes text for HTML, in an element or in a quoted attribute.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Chart to draw.
#[derive(Debug)]
pub struct Chart<'a> {
    /// A name for it, unique in the page, of letters and `-`.
    pub id: &'a str,
    /// What it is.
    pub title: &'a str,
    /// Description for screen readers.
    pub description: String,
    /// The series: the name, and the CSS class of the colour.
    pub series: Vec<(String, String)>,
    /// The periods with one number for each of the series.
    pub columns: Vec<(String, Vec<u64>)>,
    /// Whether the numbers of a period are stacked.
    pub stacked: bool,
}

/// Grid lines in the drawing, without the base line.
const LINES: u64 = 4;

impl Chart<'_> {
    /// Returns the chart as a part of a page.
    #[must_use]
    pub fn html(&self) -> String {
        let top = self.top();
        let count = self.columns.len().max(1);
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = write!(out, "<div class=\"legend\">");
        for (name, class) in &self.series {
            let _ = write!(out, "<span><i class=\"{class}\"></i>{}</span>", escaped(name));
        }
        // A few columns are not stretched over the whole page.
        let _ = write!(
            out,
            "</div>\n<div class=\"plot\" style=\"max-width:{}rem\">\n<div class=\"scale\" aria-hidden=\"true\">",
            4 + 4 * count
        );
        for line in (0..=LINES).rev() {
            let _ = write!(out, "<span>{}</span>", grouped(top / LINES * line));
        }
        let (id, title, description) = (self.id, escaped(self.title), escaped(&self.description));
        let _ = write!(
            out,
            "</div>\n<svg role=\"img\" aria-labelledby=\"{id}-title {id}-text\" viewBox=\"0 0 {} 100\" \
             preserveAspectRatio=\"none\">\n<title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-text\">{description}</desc>\n",
            count * 100
        );
        for line in 0..=LINES {
            let y = 100 * line / LINES;
            let _ = writeln!(out, "<line class=\"grid\" x1=\"0\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", count * 100);
        }
        for (at, (label, numbers)) in self.columns.iter().enumerate() {
            self.column(&mut out, at, label, numbers, top);
        }
        out.push_str("</svg>\n<div class=\"days\" aria-hidden=\"true\">");
        for label in self.marks() {
            let _ = write!(out, "<span>{}</span>", escaped(label));
        }
        out.push_str("</div>\n</div>\n");
        out
    }

    /// Returns the number at the upper edge: four times a round number.
    fn top(&self) -> u64 {
        let highest = |numbers: &Vec<u64>| match self.stacked {
            true => numbers.iter().sum(),
            false => numbers.iter().max().copied().unwrap_or_default(),
        };
        let most: u64 = self.columns.iter().map(|(_, numbers)| highest(numbers)).max().unwrap_or_default();
        let least = u128::from(most.div_ceil(LINES).max(1));
        let decade = 10_u128.pow(least.ilog10());
        // Tenths of a decade that are easy to read off; below ten there are no tenths.
        let easy = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100].map(|tenths| decade * tenths);
        let step = easy.into_iter().find(|step| step % 10 == 0 && step / 10 >= least).unwrap_or(10 * least) / 10;
        u64::try_from(step).unwrap_or(u64::MAX).saturating_mul(LINES)
    }

    /// Returns the first, the last and the middle period, as far as they differ.
    fn marks(&self) -> Vec<&str> {
        let labels: Vec<&str> = self.columns.iter().map(|(label, _)| label.as_str()).collect();
        match labels.as_slice() {
            [first, .., last] if labels.len() % 2 == 1 => vec![*first, labels[labels.len() / 2], *last],
            [first, .., last] => vec![*first, *last],
            few => few.to_vec(),
        }
    }

    /// Draws a column. Zero draws nothing; every other number is high enough to be seen.
    fn column(&self, out: &mut String, at: usize, label: &str, numbers: &[u64], top: u64) {
        let height = |number: u64| (number as f64 / top as f64 * 100.0).max(0.6);
        let width = if self.stacked { 80.0 } else { 80.0 / self.series.len().max(1) as f64 };
        let told = self.series.iter().zip(numbers).filter(|(_, number)| **number > 0);
        let told: Vec<String> = told.map(|((name, _), number)| format!("{name} {}", grouped(*number))).collect();
        if told.is_empty() {
            return;
        }
        let _ = write!(out, "<g><title>{}: {}</title>", escaped(label), escaped(&told.join(", ")));
        let (mut x, mut base) = (at as f64 * 100.0 + 10.0, 100.0);
        for ((_, class), number) in self.series.iter().zip(numbers) {
            if *number > 0 {
                let height = height(*number);
                let y = base - height;
                let _ = write!(
                    out,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.2}\" width=\"{width:.1}\" height=\"{height:.2}\"/>"
                );
                if self.stacked {
                    base = y;
                }
            }
            if !self.stacked {
                x += width;
            }
        }
        out.push_str("</g>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(columns: Vec<(String, Vec<u64>)>, stacked: bool) -> Chart<'static> {
        let series = vec![("a<b".to_owned(), "c0".to_owned()), ("x".to_owned(), "c1".to_owned())];
        Chart { id: "t", title: "T", description: "D".to_owned(), series, columns, stacked }
    }

    #[test]
    fn the_scale_is_of_round_numbers() {
        for (most, top) in
            [(0, 4), (4, 4), (5, 8), (9, 12), (27, 32), (41, 48), (81, 100), (110, 120), (12_345, 16_000)]
        {
            assert_eq!(chart(vec![("d".into(), vec![most, 0])], true).top(), top, "{most}");
        }
        assert_eq!(chart(vec![("d".into(), vec![30, 12])], true).top(), 48);
        assert_eq!(chart(vec![("d".into(), vec![30, 12])], false).top(), 32);
        assert!(chart(vec![("d".into(), vec![u64::MAX, 0])], false).top() > u64::MAX / 2);
    }

    #[test]
    fn stacks_stand_on_each_other_and_names_are_escaped() {
        let html = chart(vec![("d".into(), vec![2, 2])], true).html();
        assert!(html.contains("<rect class=\"c0\" x=\"10.0\" y=\"50.00\" width=\"80.0\" height=\"50.00\"/>"), "{html}");
        assert!(html.contains("<rect class=\"c1\" x=\"10.0\" y=\"0.00\" width=\"80.0\" height=\"50.00\"/>"), "{html}");
        assert!(html.contains("<title>d: a&lt;b 2, x 2</title>") && !html.contains("a<b"));
        assert_eq!(escaped("<a href=\"x\" b='&'>"), "&lt;a href=&quot;x&quot; b=&#39;&amp;&#39;&gt;");
    }

    #[test]
    fn an_empty_chart_is_drawn() {
        assert!(!chart(Vec::new(), true).html().contains("<rect"));
    }
}
