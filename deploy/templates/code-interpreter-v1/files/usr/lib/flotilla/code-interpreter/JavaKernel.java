import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import jdk.jshell.EvalException;
import jdk.jshell.ExpressionSnippet;
import jdk.jshell.JShell;
import jdk.jshell.Snippet;
import jdk.jshell.SnippetEvent;
import jdk.jshell.SourceCodeAnalysis;
import jdk.jshell.SourceCodeAnalysis.CompletionInfo;
import jdk.jshell.UnresolvedReferenceException;
import sun.misc.Signal;

/**
 * A kernel of Java: JShell, which runs what it is given in this very machine, so that names stay and nothing else has to start.
 *
 * <p>usage: java JavaKernel EVENTS_FD; a line in: CODE ENVS OWN_ENVS, each in base64, variables as NAME=VALUE with NUL between them. Lines
 * of JSON out, at that descriptor.
 */
public final class JavaKernel {
	private final PrintStream events;
	private final JShell shell;
	private volatile boolean isInterrupted;

	private JavaKernel(String eventsFd) throws IOException {
		events = new PrintStream(new FileOutputStream("/dev/fd/" + eventsFd), true, StandardCharsets.UTF_8);
		shell = JShell.builder().executionEngine("local").in(InputStream.nullInputStream()).out(System.out).err(System.err).build();
		for (String name : List.of("java.io.*", "java.math.*", "java.nio.file.*", "java.util.*", "java.util.function.*", "java.util.stream.*")) {
			shell.eval("import " + name + ";");
		}
		Signal.handle(new Signal("INT"), signal -> {
			isInterrupted = true;
			shell.stop();
		});
	}

	// ---- what is told ----

	private static String quoted(String text) {
		StringBuilder json = new StringBuilder("\"");
		for (char c : text.toCharArray()) {
			if (c == '"' || c == '\\') {
				json.append('\\').append(c);
			} else if (c < 0x20 || Character.isSurrogate(c) || c == 0x7f) {
				json.append(String.format("\\u%04x", (int) c));
			} else {
				json.append(c);
			}
		}
		return json.append('"').toString();
	}

	private void tellError(String name, String value, String traceback) {
		events.printf("{\"type\":\"error\",\"name\":%s,\"value\":%s,\"traceback\":%s}%n", quoted(name), quoted(value), quoted(traceback));
	}

	/** As it would be printed: JShell has texts and characters as in a program. */
	private void tellValue(String value) {
		boolean isText = value.length() > 1 && (value.startsWith("\"") || value.startsWith("'")) && !value.endsWith("...");
		String shown = isText ? value.substring(1, value.length() - 1).translateEscapes() : value;
		events.printf("{\"type\":\"data\",\"is_main\":true,\"data\":{\"text/plain\":%s}}%n", quoted(shown));
	}

	// ---- executions ----

	/** The frames of the code's own. */
	private static String traceback(EvalException thrown) {
		return Arrays.stream(thrown.getStackTrace()).filter(frame -> !frame.getClassName().startsWith("jdk.jshell"))
			.map(frame -> "\tat " + frame.getMethodName() + "(" + frame.getFileName() + ":" + frame.getLineNumber() + ")")
			.collect(Collectors.joining("\n", thrown.getExceptionClassName() + ": " + thrown.getMessage() + "\n", ""));
	}

	/** False: it went wrong, and so it was told. */
	private boolean isWell(SnippetEvent event) {
		if (isInterrupted) {
			tellError("Interrupted", "interrupted", "");
		} else if (event.exception() instanceof EvalException thrown) {
			tellError(thrown.getExceptionClassName(), String.valueOf(thrown.getMessage()), traceback(thrown));
		} else if (event.exception() instanceof UnresolvedReferenceException unresolved) {
			tellError("UnresolvedReference", unresolved.getSnippet().name() + " needs what is not there: "
				+ shell.unresolvedDependencies(unresolved.getSnippet()).collect(Collectors.joining(", ")), "");
		} else if (event.status() == Snippet.Status.REJECTED) {
			tellError("CompilationError", shell.diagnostics(event.snippet()).map(diag -> diag.getMessage(Locale.ENGLISH)).collect(Collectors.joining("\n")),
				event.snippet().source());
		} else {
			return true;
		}
		return false;
	}

	/** What the last snippet came to, or null. */
	private void evaluate(String code) {
		SourceCodeAnalysis analysis = shell.sourceCodeAnalysis();
		SnippetEvent last = null;
		while (!code.isBlank()) {
			CompletionInfo info = analysis.analyzeCompletion(code);
			String source = info.source() != null ? info.source() : code;
			for (SnippetEvent event : shell.eval(source)) {
				// What was said before and is different now is told as well; it has a cause.
				if (event.causeSnippet() == null && !isWell(event)) {
					return;
				}
				last = event.causeSnippet() == null ? event : last;
			}
			code = info.source() != null ? info.remaining() : "";
		}
		if (last != null && isShown(last)) {
			tellValue(last.value());
		}
	}

	private static boolean isShown(SnippetEvent event) {
		return event.value() != null && !event.value().isEmpty() && !event.value().equals("null")
			&& (event.snippet() instanceof ExpressionSnippet || event.snippet().subKind() == Snippet.SubKind.TEMP_VAR_EXPRESSION_SUBKIND);
	}

	// ---- variables ----

	/** What Java has of its environment, to be changed: nothing else changes what getenv says. */
	@SuppressWarnings("unchecked")
	private static Map<String, String> environment() throws ReflectiveOperationException {
		Field kept = System.getenv().getClass().getDeclaredField("m");
		kept.setAccessible(true);
		return (Map<String, String>) kept.get(System.getenv());
	}

	private static Map<String, String> variables(String base64) {
		Map<String, String> variables = new HashMap<>();
		for (String variable : decoded(base64).split("\0")) {
			int at = variable.indexOf('=');
			if (at > 0) {
				variables.put(variable.substring(0, at), variable.substring(at + 1));
			}
		}
		return variables;
	}

	private static String decoded(String base64) {
		return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
	}

	private void execute(String request) throws ReflectiveOperationException {
		String[] words = request.split(" ", -1);
		Map<String, String> all = environment(), own = variables(words[2]), before = new HashMap<>();
		all.putAll(variables(words[1]));
		own.forEach((name, value) -> before.put(name, all.put(name, value)));
		isInterrupted = false;
		evaluate(decoded(words[0]));
		before.forEach((name, value) -> {
			if (value == null) {
				all.remove(name);
			} else {
				all.put(name, value);
			}
		});
		System.out.flush();
		System.err.flush();
		events.println("{\"type\":\"done\"}");
	}

	/** usage: see above. */
	public static void main(String[] words) throws Exception {
		JavaKernel kernel = new JavaKernel(words[0]);
		BufferedReader requests = new BufferedReader(new InputStreamReader(new FileInputStream("/dev/fd/0"), StandardCharsets.US_ASCII));
		System.setIn(InputStream.nullInputStream());
		for (String line; (line = requests.readLine()) != null;) {
			kernel.execute(line);
		}
	}
}
