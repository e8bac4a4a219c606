"""HTTP/1.1 on uvloop and llhttp, with callbacks all the way: no framework, no task per request."""
