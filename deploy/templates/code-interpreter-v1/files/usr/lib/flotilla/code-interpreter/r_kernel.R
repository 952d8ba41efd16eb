# A kernel of R: an evaluator of top-level expressions whose names stay.
# usage: Rscript -e 'sys.source("r_kernel.R", new.env(parent = baseenv()))' REQUESTS_FD EVENTS_FD     a line of JSON in: {code, envs, ownEnvs}
options(warn = 1, device = function(...) grDevices::png(file.path(kernel$plots, "%03d.png"), width = 800, height = 600, type = "cairo"))

kernel <- new.env()
kernel$plots <- tempfile("plots")
dir.create(kernel$plots)

kernel$open <- function(number, mode) file(paste0("/dev/fd/", number), open = mode)

kernel$tell <- function(event) {
	writeLines(jsonlite::toJSON(event, auto_unbox = TRUE, null = "null", na = "null", digits = NA), kernel$events)
	flush(kernel$events)
}

kernel$tell_data <- function(data, is_main) kernel$tell(list(type = "data", data = data, is_main = is_main))

kernel$tell_error <- function(name, value, calls = NULL) {
	traceback <- vapply(calls, function(call) paste(deparse(call, nlines = 1L), collapse = ""), "")
	kernel$tell(list(type = "error", name = name, value = value, traceback = paste(traceback, collapse = "\n")))
}

# As it would be printed, by methods of the code's own, too; a table as its columns as well.
kernel$show <- function(value, is_main) {
	print_it <- as.call(list(base::print, call("quote", value)))
	data <- list("text/plain" = paste(utils::capture.output(eval(print_it, globalenv())), collapse = "\n"))
	if (is.data.frame(value) && length(value) * nrow(value) <= 50000)
		data[["e2b/data"]] <- lapply(value, function(column) I(if (is.factor(column)) as.character(column) else column))
	kernel$tell_data(data, is_main)
}

kernel$show_plots <- function() {
	grDevices::graphics.off()
	for (path in list.files(kernel$plots, full.names = TRUE)) {
		bytes <- readBin(path, "raw", file.size(path))
		kernel$tell_data(list("image/png" = gsub("\n", "", jsonlite::base64_enc(bytes))), FALSE)
	}
	unlink(file.path(kernel$plots, "*"))
}

kernel$put <- function(envs) {
	for (name in names(envs))
		if (is.null(envs[[name]]) || is.na(envs[[name]])) Sys.unsetenv(name) else do.call(Sys.setenv, envs[name])
}

# Of all calls: without ours, down to the evaluation, and without the handler's two at the end.
kernel$theirs <- function(calls) {
	is_ours <- vapply(calls, identical, NA, quote(eval(expressions[[i]], globalenv())))
	if (any(is_ours)) utils::head(calls[-seq_len(max(which(is_ours)))], -2)
}

kernel$evaluate <- function(code) {
	calls <- NULL
	noted <- function(condition) calls <<- kernel$theirs(sys.calls())
	tryCatch(withCallingHandlers({
		expressions <- parse(text = code, keep.source = FALSE)
		for (i in seq_along(expressions)) {
			got <- withVisible(eval(expressions[[i]], globalenv()))
			if (got$visible) kernel$show(got$value, i == length(expressions))
		}
	}, error = noted),
	error = function(condition) kernel$tell_error("ERROR", conditionMessage(condition), calls),
	interrupt = function(condition) kernel$tell_error("Interrupted", "interrupted"))
}

kernel$execute <- function(request) {
	kernel$put(request$envs)
	before <- as.list(Sys.getenv(names(request$ownEnvs), unset = NA, names = TRUE))
	kernel$put(request$ownEnvs)
	kernel$evaluate(request$code)
	kernel$put(before)
	tryCatch(kernel$show_plots(), error = function(condition) kernel$tell_error("ERROR", conditionMessage(condition)))
	kernel$tell(list(type = "done"))
}

kernel$words <- commandArgs(trailingOnly = TRUE)
kernel$requests <- kernel$open(kernel$words[1], "r")
kernel$events <- kernel$open(kernel$words[2], "w")
repeat {
	# An interrupt that comes too late is nobody's.
	tryCatch({
		kernel$line <- readLines(kernel$requests, n = 1, encoding = "UTF-8")
		if (length(kernel$line) == 0) break
		kernel$execute(jsonlite::fromJSON(kernel$line, simplifyVector = FALSE))
	}, interrupt = function(condition) NULL)
}
