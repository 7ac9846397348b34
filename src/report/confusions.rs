//! What was taken for what.

use super::html::Page;
use super::plot;
use crate::Result;
use std::collections::BTreeMap;

/// Pairs in the table.
const LISTED: usize = 20;

/// The matrix of few classes, and the most frequent errors. `answers` are places in `names`: what it is, and what it
/// was taken for.
///
/// # Errors
/// Where the matrix cannot be drawn.
pub fn confusions(page: &mut Page, names: &[&str], answers: &[(usize, usize)]) -> Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    page.section("Confusions");
    let (mut wrong, mut asked) = (BTreeMap::<(usize, usize), usize>::new(), vec![0_usize; names.len()]);
    for &(truth, answer) in answers {
        asked[truth] += 1;
        if truth != answer {
            *wrong.entry((truth, answer)).or_default() += 1;
        }
    }
    if names.len() <= plot::CONFUSABLE {
        let mut counts = vec![vec![0_u32; names.len()]; names.len()];
        answers.iter().for_each(|&(truth, answer)| counts[truth][answer] += 1);
        let caption = format!("Rows: what it is; columns: the answer; in this order: {}.", names.join(", "));
        page.chart(&plot::confusion(&counts)?, &caption);
    }
    if wrong.is_empty() {
        page.text("None: every answer was right.");
        return Ok(());
    }
    let mut most: Vec<((usize, usize), usize)> = wrong.into_iter().collect();
    most.sort_by_key(|&(pair, count)| (std::cmp::Reverse(count), pair));
    if most.len() > LISTED {
        page.text(&format!("The {LISTED} most frequent of {} kinds of errors:", most.len()));
    }
    let rows = most.into_iter().take(LISTED).map(|((truth, answer), count)| {
        [names[truth].to_string(), names[answer].to_string(), count.to_string(), asked[truth].to_string()]
    });
    page.table(&["what it is", "taken for", "times", "of"], rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn html(names: &[&str], answers: &[(usize, usize)]) -> String {
        let mut page = Page::new("t", "a");
        confusions(&mut page, names, answers).unwrap();
        page.render()
    }

    #[test]
    fn the_most_frequent_error_comes_first() {
        let told = html(&["a", "b", "c"], &[(0, 1), (2, 1), (2, 1), (1, 1), (2, 2)]);
        let rows: Vec<&str> = told.split("<tr>").skip(2).collect();
        assert!(
            rows[0].starts_with("<td>c</td><td>b</td><td class=\"n\">2</td><td class=\"n\">3</td>"),
            "{told}"
        );
        assert!(rows.len() == 2 && told.contains("<svg"));
    }

    #[test]
    fn many_classes_have_no_matrix_and_no_error_is_said() {
        let names = vec!["x"; 100];
        let told = html(&names, &[(0, 0), (99, 99)]);
        assert!(!told.contains("<svg") && told.contains("None: every answer was right."));
        assert!(!html(&names, &[]).contains("Confusions"));
    }
}
