// Package repocheck holds the rules of this repository that no compiler knows, as tests: which package may import which,
// what library code must not contain, how large things may grow, and that the documents speak of what is there.
//
// Each rule is a function from source to complaints. Its test first shows that the rule finds a violation, and then
// applies it to the repository.
package repocheck
