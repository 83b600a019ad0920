//! Writes the Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use corelane_engine::counters::MetricKind;
use corelane_engine::histogram::{Distribution, Unit};

/// A piece of the page.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) page: String,
}

impl Text {
    /// With room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { page: String::with_capacity(bytes) }
    }

    /// The HELP and TYPE of a family.
    pub(super) fn declare(&mut self, name: &str, help: &str, kind: MetricKind) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let _ = write!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A family of one sample without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.declare(name, help, MetricKind::Gauge);
        self.sample(name, &Labels::default(), value);
    }

    /// A family of one sample without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.declare(name, help, MetricKind::Counter);
        self.sample(name, &Labels::default(), value);
    }

    pub(super) fn sample(&mut self, name: &str, labels: &Labels, value: impl Display) {
        self.page.push_str(name);
        if !labels.0.is_empty() {
            self.page.push('{');
            self.page.push_str(&labels.0);
            self.page.push('}');
        }
        let _ = writeln!(self.page, " {value}");
    }

    /// Of each bucket, the values up to its end, those of the buckets before it included.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &Labels,
        values: &Distribution,
        ends: &BucketEnds,
    ) {
        let mut count: u64 = 0;
        for (end, bucket) in ends.of(values.unit).iter().zip(&values.buckets) {
            count = count.wrapping_add(*bucket);
            self.page.push_str(name);
            self.page.push_str("_bucket{");
            self.page.push_str(&labels.0);
            self.page.push_str(",le=\"");
            self.page.push_str(end);
            let _ = writeln!(self.page, "\"}} {count}");
        }
        let _ = write!(self.page, "{name}_sum{{{}}} ", labels.0);
        let _ = match values.unit {
            Unit::Duration => writeln!(self.page, "{}", Seconds(values.sum)),
            Unit::Size => writeln!(self.page, "{}", values.sum),
        };
        let _ = writeln!(self.page, "{name}_count{{{}}} {count}", labels.0);
    }
}

/// Nanoseconds, written in seconds.
pub(super) struct Seconds(pub(super) u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The labels of a sample, as they stand between the braces.
#[derive(Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn of(name: &str, value: impl Display) -> Self {
        Self::default().and(name, value)
    }

    /// These and another one.
    pub(super) fn and(mut self, name: &str, value: impl Display) -> Self {
        self.push(name, value);
        self
    }

    /// Adds one.
    pub(super) fn push(&mut self, name: &str, value: impl Display) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}{name}=\"");
        let _ = write!(Escaped(&mut self.0), "{value}");
        self.0.push('"');
    }

    /// Removes what was added after the first `length` bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Escapes what is written.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// The values of the label `le`.
#[derive(Debug)]
pub(super) struct BucketEnds {
    durations: Vec<String>,
    sizes: Vec<String>,
}

impl BucketEnds {
    pub(super) fn new() -> Self {
        let written = |unit: Unit, write: fn(u64) -> String| {
            let bounds = unit.bounds().iter();
            bounds.map(|&bound| if bound == u64::MAX { "+Inf".to_owned() } else { write(bound) }).collect()
        };
        let seconds = |ns| Seconds(ns).to_string().trim_end_matches('0').trim_end_matches('.').to_owned();
        Self {
            durations: written(Unit::Duration, seconds),
            sizes: written(Unit::Size, |bytes| bytes.to_string()),
        }
    }

    fn of(&self, unit: Unit) -> &[String] {
        match unit {
            Unit::Duration => &self.durations,
            Unit::Size => &self.sizes,
        }
    }
}
