//! The page of the report, as text and in a browser.

use std::{path::PathBuf, process::Command};

use fastdraft_train::{
    evaluate::{DecodeSpeed, TaskReport},
    report::{GammaCurve, HtmlReport, LossPoint, ShapeRow, StageSection, write_html},
    stage::StageReport,
};

fn task(name: &str, speedup: f64) -> TaskReport {
    TaskReport {
        task: name.into(),
        prompts: 6,
        drafted: 600,
        accepted: 200,
        target_passes: 200,
        emitted: 400,
        acceptance_rate: 1.0 / 3.0,
        acceptance_interval: Some((0.28, 0.39)),
        block_efficiency: 2.0,
        mbsu: 1.5,
        plain_tokens_per_s: 50.0,
        speculative_tokens_per_s: 50.0 * speedup,
        speedup,
        decode: DecodeSpeed {
            plain_tokens_per_s: 60.0,
            speculative_tokens_per_s: 75.0,
            speedup: 1.25,
        },
        draft_position: vec![(200, 120), (200, 60), (200, 20)],
    }
}

fn weak(name: &str, speedup: f64) -> TaskReport {
    TaskReport {
        acceptance_rate: 0.2,
        ..task(name, speedup)
    }
}

fn stage(name: &str, losses: usize, tasks: Vec<TaskReport>) -> StageSection {
    let training = StageReport {
        stage: name.into(),
        steps: losses,
        tokens: 256 * losses,
        seconds: 12.0,
        first_loss: 9.0,
        last_loss: 5.0,
    };
    let losses = (1..=losses)
        .map(|step| LossPoint {
            tokens: 256 * step,
            loss: 4.0 + 5.0 / step as f32,
        })
        .collect();
    StageSection {
        losses,
        tasks,
        ..StageSection::new(training)
    }
}

fn shape(layers: usize, latency: f64, acceptance_rate: Option<f64>) -> ShapeRow {
    ShapeRow {
        layers,
        hidden_size: 1024 / layers,
        pass_parameters: 8_000_000,
        latency,
        acceptance_rate,
    }
}

fn full() -> HtmlReport {
    HtmlReport {
        target: "target".into(),
        draft: "out/draft".into(),
        gamma: Some(3),
        stages: vec![
            stage("PT", 40, vec![weak("code", 0.8), weak("stories", 0.9)]),
            stage("FT", 30, vec![task("code", 1.1), task("stories", 0.95)]),
        ],
        speedup_by_gamma: vec![GammaCurve {
            name: "code".into(),
            points: vec![(1, 1.05), (3, 1.1), (5, 0.9)],
        }],
        // Not in the order of their depths.
        shapes: vec![
            shape(4, 1.1e-3, Some(0.31)),
            shape(1, 0.6e-3, None),
            shape(2, 0.7e-3, Some(0.34)),
        ],
        ..HtmlReport::default()
    }
}

#[test]
fn names_cannot_become_markup() {
    let evil = "</title></text><script>alert('&')</script>\"";
    let mut report = full();
    report.target = evil.into();
    report.draft = evil.into();
    report.facts = vec![(evil.into(), evil.into())];
    report.speedup_by_gamma[0].name = evil.into();
    report.stages[0].training.stage = evil.into();
    report.stages[1].training.stage = evil.into();
    for stage in &mut report.stages {
        stage.tasks[0].task = evil.into();
    }
    let page = report.page();
    assert!(
        !page.contains("<script") && !page.contains("alert('"),
        "{page}"
    );
    assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;&quot;"));
    let plain = full().page();
    for tag in ["<title>", "</title>", "</text>", "</td>", "</li>"] {
        assert_eq!(
            page.matches(tag).count(),
            plain.matches(tag).count(),
            "{tag}"
        );
    }
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = full().page();
    for word in [
        "http://", "https://", "src=", "href=", "url(", "@import", "<script",
    ] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_lead_counts_the_faster_tasks() {
    let page = full().page();
    assert!(page.contains("on 1 of 2 tasks: from 0.95× on stories to 1.10× on code."));
    assert_eq!(page.matches("<svg").count(), 8);
    assert_eq!(page.matches(">1.25×</td>").count(), 4);
}

#[test]
fn shapes_are_drawn_by_depth_whatever_their_order() {
    let places = |page: &str| -> Vec<f64> {
        let (_, figure) = page.split_once("time of a pass by depth").unwrap();
        let (figure, _) = figure.split_once("</figure>").unwrap();
        let dots = figure.split("<circle").skip(1);
        dots.map(|dot| {
            let (_, x) = dot.split_once("cx=\"").unwrap();
            x.split('"').next().unwrap().parse().unwrap()
        })
        .collect()
    };
    let page = full().page();
    let found = places(&page);
    assert!(found.len() == 3 && found.is_sorted(), "{found:?}");
    let mut report = full();
    report
        .shapes
        .iter_mut()
        .for_each(|row| row.acceptance_rate = None);
    assert!(!report.page().contains("acceptance rate by depth"));
}

#[test]
fn what_is_missing_or_no_number_leaves_a_whole_page() {
    let empty = HtmlReport::default().page();
    assert!(!empty.contains("<svg") && empty.ends_with("</html>\n"));
    let mut report = full();
    report.temperature = Some(f64::NAN);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        (report.shapes[0].latency, report.shapes[0].acceptance_rate) = (bad, Some(bad));
        for stage in &mut report.stages {
            stage.training.seconds = bad;
            stage.training.first_loss = bad as f32;
            stage.losses[3].loss = bad as f32;
            stage.tasks[0] = TaskReport {
                acceptance_rate: bad,
                block_efficiency: bad,
                mbsu: bad,
                plain_tokens_per_s: bad,
                speculative_tokens_per_s: bad,
                draft_position: vec![(0, 0), (u64::MAX, u64::MAX)],
                ..task("code", bad)
            };
        }
        let page = report.page();
        assert_eq!(page.matches("<svg").count(), 8, "{bad}");
        assert!(
            !page.contains("NaN") && !page.contains("inf<"),
            "{bad}: {page}"
        );
    }
    report.stages = vec![stage("PT", 1, Vec::new()), stage("FT", 0, Vec::new())];
    report.speedup_by_gamma.clear();
    report.shapes.clear();
    let page = report.page();
    assert_eq!(page.matches("<svg").count(), 1);
    assert!(page.contains("<circle"));
}

#[test]
fn a_page_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.html");
    write_html(&path, &full()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), full().page());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let missing = dir.path().join("missing").join("report.html");
    let error = write_html(&missing, &full()).unwrap_err();
    assert!(error.to_string().contains("report.html"), "{error}");
}

/// Writes down what the browser drew: of each picture, the boxes of its marks on the screen.
const MEASURE: &str = "<script>\
    const box = m => { const r = m.getBoundingClientRect(), s = getComputedStyle(m); \
      return [r.width, r.height, r.left, r.top, s.fill + ' ' + s.stroke]; };\
    const all = [...document.querySelectorAll('svg')].map(svg => ({\
      title: svg.querySelector('title').textContent, frame: box(svg),\
      marks: [...svg.querySelectorAll('.line,.bar,.dot')].map(box) }));\
    const out = document.createElement('pre'); out.id = 'measured';\
    out.textContent = JSON.stringify(all); document.body.append(out);</script>";

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    (std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))))
        .find(|file| file.is_file())
}

#[test]
fn a_browser_draws_every_plot() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: no Chromium on the PATH");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.html");
    let page = full().page();
    // The page itself forbids scripts.
    let page = page.replace("default-src 'none'", "script-src 'unsafe-inline'");
    std::fs::write(&path, page.replace("</body>", &format!("{MEASURE}</body>"))).unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            dir.path().join("profile").display()
        ))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let (_, measured) = dom.split_once("<pre id=\"measured\">").expect(&errors);
    let (measured, _) = measured.split_once("</pre>").unwrap();
    let plots: Vec<serde_json::Value> =
        serde_json::from_str(&measured.replace("&amp;", "&")).unwrap();
    let marks: Vec<usize> = (plots.iter())
        .map(|plot| plot["marks"].as_array().unwrap().len())
        .collect();
    // Bars of two tasks and stages, a line with three dots, bars again, three positions of two
    // stages, three depths with their time and two with their acceptance, two losses, two tasks
    // with a line and two dots.
    assert_eq!(marks, [4, 4, 4, 6, 4, 3, 2, 6], "{plots:?}");
    for plot in &plots {
        let number = |v: &serde_json::Value, i: usize| v[i].as_f64().unwrap();
        let frame = &plot["frame"];
        assert!(
            number(frame, 0) > 200.0 && number(frame, 1) > 100.0,
            "{plot}"
        );
        for mark in plot["marks"].as_array().unwrap() {
            assert!(number(mark, 0) > 1.0 && number(mark, 1) > 1.0, "{plot}");
            for (side, length) in [(2, 0), (3, 1)] {
                let inside = number(mark, side) - number(frame, side);
                let room = number(frame, length) - number(mark, length);
                assert!((-1.0..=room + 1.0).contains(&inside), "{plot}");
            }
            assert!(mark[4].as_str().unwrap().contains("rgb("), "{plot}");
        }
    }
}
