//! From the configured error pages to those of each listener.

use std::sync::Arc;

use corelane_engine::error_page::{ErrorPage, ErrorPages, Segment, Variable};

use crate::config::{self, Config, PageSegment, PageVariable, StatusPattern};

/// The pages of each listener, in the order of [`Config::listeners`]. A page that names its listeners goes before one for
/// all; an exact status before a class is [`ErrorPages`]' own rule.
pub(crate) fn by_listener(config: &Config) -> Vec<Arc<ErrorPages>> {
    let mut of_listeners = vec![ErrorPages::default(); config.listeners.len()];
    let (named, for_all): (Vec<_>, Vec<_>) =
        config.error_pages.iter().partition(|page| page.listeners.is_some());
    for configured in for_all.into_iter().chain(named) {
        let page = Arc::new(page(configured));
        for (index, pages) in of_listeners.iter_mut().enumerate() {
            if configured.listeners.as_ref().is_some_and(|listeners| !listeners.contains(&index)) {
                continue;
            }
            for status in &configured.statuses {
                match *status {
                    StatusPattern::Exact(status) => pages.set(status, page.clone()),
                    StatusPattern::Class(digit) => pages.set_class(digit, page.clone()),
                }
            }
        }
    }
    of_listeners.into_iter().map(Arc::new).collect()
}

fn page(configured: &config::ErrorPage) -> ErrorPage {
    let segments = configured.segments.iter().map(|segment| match segment {
        PageSegment::Text(text) => Segment::Text(text.to_vec().into()),
        PageSegment::Variable(variable) => Segment::Variable(match variable {
            PageVariable::Status => Variable::Status,
            PageVariable::ReasonPhrase => Variable::ReasonPhrase,
            PageVariable::Reason => Variable::Reason,
            PageVariable::RequestId => Variable::RequestId,
        }),
    });
    ErrorPage { content_type: configured.content_type.to_string().into(), segments: segments.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn configured(
        statuses: &[StatusPattern],
        listeners: Option<Vec<usize>>,
        text: &str,
    ) -> config::ErrorPage {
        config::ErrorPage {
            statuses: statuses.to_vec(),
            listeners,
            content_type: "text/plain".into(),
            segments: vec![PageSegment::Text(text.as_bytes().into())],
        }
    }

    #[test]
    fn the_most_precise_page_wins_whatever_the_order() {
        use StatusPattern::{Class, Exact};
        let mut config = fixtures::config();
        config.listeners.push(fixtures::listener("other", "127.0.0.1:1"));
        config.error_pages = vec![
            configured(&[Exact(404), Class(5)], Some(vec![1]), "named"),
            configured(&[Class(5), Class(4)], None, "class for all"),
            configured(&[Exact(404), Exact(503)], None, "exact for all"),
        ];
        for reversed in [false, true] {
            if reversed {
                config.error_pages.reverse();
            }
            let pages = by_listener(&config);
            let text = |listener: usize, status: u16| match &*pages[listener].of(status).unwrap().segments {
                [Segment::Text(text)] => String::from_utf8(text.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!(text(0, 404), "exact for all");
            assert_eq!(text(1, 404), "named");
            assert_eq!([text(0, 502), text(1, 502)], ["class for all", "named"]);
            assert_eq!(text(1, 503), "exact for all", "an exact status goes before a class");
            assert_eq!([text(0, 400), text(1, 400)], ["class for all", "class for all"]);
        }
    }

    #[test]
    fn every_variable_arrives() {
        let mut page = configured(&[], None, "a");
        page.segments.extend(
            [PageVariable::Status, PageVariable::ReasonPhrase, PageVariable::Reason, PageVariable::RequestId]
                .map(PageSegment::Variable),
        );
        let page = super::page(&page);
        let variables = [Variable::Status, Variable::ReasonPhrase, Variable::Reason, Variable::RequestId];
        assert_eq!(page.segments[1..], variables.map(Segment::Variable));
        assert_eq!(page.content_type, "text/plain");
    }
}
