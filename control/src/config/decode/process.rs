//! `[process]`

use std::time::Duration;

use crate::config::tree::Value;

use crate::config::reader::Reader;
use crate::config::report::Reported;
use crate::config::types::{DriverChoice, Process};
use crate::config::value::{self, Parsed};
use crate::config::{show, suggest};

const DRIVERS: [(&str, DriverChoice); 3] =
    [("auto", DriverChoice::Auto), ("io_uring", DriverChoice::IoUring), ("epoll", DriverChoice::Epoll)];

pub(super) fn decode(section: &Reader<'_>) -> Result<Process, Reported> {
    let workers = section.or_default("workers", workers);
    let driver = section.or_default("driver", |value| value::choice(value, &DRIVERS));
    let drain_timeout = section.or_default("drain_timeout", |value| value::duration(value, Duration::ZERO));
    let shutdown_delay = section.or_default("shutdown_delay", |value| value::duration(value, Duration::ZERO));
    Ok(Process {
        workers: workers?,
        driver: driver?,
        drain_timeout: drain_timeout?,
        shutdown_delay: shutdown_delay?,
    })
}

fn workers(value: &Value) -> Parsed<Option<usize>> {
    let Value::String(text) = value else {
        let number = value::integer(value, 1..=1024);
        let number = number.map_err(|text| text.replace("allowed: ", "allowed: \"auto\" or "))?;
        return Ok(usize::try_from(number).ok());
    };
    if text == "auto" {
        return Ok(None);
    }
    if text.parse::<u16>().is_ok() {
        return Ok(usize::try_from(value::integer(value, 1..=1024)?).ok());
    }
    let meant = suggest::did_you_mean(text, ["auto"]);
    Err(format!("{} is not a number{meant} (allowed: \"auto\" or 1 to 1024)", show::quoted(text)))
}
