// Package flock takes the exclusive lock of a whole file, as flock(2) does. It belongs to the open file: it also excludes other
// users in the same process, and ends when the file is closed or the process dies. Where there is no flock nothing else is taken
// for it, because then nobody could tell a live process from a dead one: there both functions fail.
package flock
